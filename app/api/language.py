"""Which of our languages an answer is written in (RFC 9110, section 12.5.4)."""

from typing import Final, Literal, get_args

Language = Literal["en", "zh-CN", "fr"]
LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)
DEFAULT: Final[Language] = "en"

_PRIMARY: Final[dict[str, Language]] = {"en": "en", "zh": "zh-CN", "fr": "fr"}


def negotiate(accept_language: str | None) -> Language:
    """The language that an `Accept-Language` header likes best; English when it names none of ours.

    Only the primary tag counts: `zh`, `zh-Hans` and `zh-TW` all get Chinese, which is the nearest that we have.
    """
    best, weight = DEFAULT, 0.0
    for part in (accept_language or "")[:1000].split(","):
        tag, _, parameter = part.strip().partition(";")
        language = DEFAULT if tag == "*" else _PRIMARY.get(tag.strip().lower().split("-")[0])
        quality = _quality(parameter)
        if language and quality > weight:
            best, weight = language, quality
    return best


def _quality(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    if not name:
        return 1.0
    try:
        return min(1.0, max(0.0, float(value))) if name.strip().lower() == "q" else 1.0
    except ValueError:
        return 0.0
