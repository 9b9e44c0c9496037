"""Words for a code in three languages."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

LANGUAGES: Final = ("en", "zh-CN", "fr")


@dataclass(frozen=True, slots=True)
class Text:
    """A title (what happened) and a hint (what to do), with placeholders in braces that the error's `params` fill."""

    title: str
    hint: str = ""

    def filled(self, params: Mapping[str, str | int]) -> "Text":
        """The text with its placeholders filled; one without a value stays as it is."""
        values = _Known(params)
        return Text(self.title.format_map(values), self.hint.format_map(values))


class _Known(dict[str, str | int]):
    def __missing__(self, name: str) -> str:
        return f"{{{name}}}"


def say(en: tuple[str, str], zh: tuple[str, str], fr: tuple[str, str]) -> Mapping[str, Text]:
    """The same words in English, Chinese and French, each (title, hint)."""
    return dict(zip(LANGUAGES, (Text(*en), Text(*zh), Text(*fr)), strict=True))
