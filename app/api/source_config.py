"""Checking what a source or a target is configured with, and showing it without its secrets.

What the answer shows may be sent back: `{"set": true}` and a masked proxy mean "as it is".
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, ValidationError

from app.api.field_texts import field_message
from app.api.language import Language
from app.api.problem import field_errors, invalid
from app.api.schemas.fields import whole
from app.errors import FieldError
from app.sources.kinds import KINDS, Kind

SET: Final = {"set": True}
MASK: Final = "***"


class Configured(Protocol):
    """What a kind of source and a kind of target have in common. A change of one of `address_fields`, where secrets are
    sent to, demands the secrets among `sent_fields` again."""

    @property
    def config(self) -> type[BaseModel]: ...

    @property
    def secret_fields(self) -> tuple[str, ...]: ...

    @property
    def address_fields(self) -> tuple[str, ...]: ...

    @property
    def sent_fields(self) -> tuple[str, ...]: ...

    @property
    def revealed(self) -> Callable[[Any], dict[str, Any]]: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """A valid configuration as the store keeps it: open values, and the secrets to write (None removes one)."""

    config: dict[str, Any]
    secrets: dict[str, Any]


def kind_of(name: str, language: Language) -> Kind:
    """The kind of this name; Refused 422 where there is none."""
    if name not in KINDS:
        raise invalid([FieldError("/kind", field_message("unknown_kind", {}, language))])
    return KINDS[name]


def new_parts(kind: Configured, given: Mapping[str, Any], language: Language) -> Parts:
    """A new configuration. Raises Refused 422."""
    plain = kind.revealed(_validated(kind, given, language))
    secrets = {name: plain.pop(name) or None for name in kind.secret_fields}
    return Parts(plain, secrets)


def changed_parts(kind: Configured, stored: Mapping[str, Any], given: Mapping[str, Any], language: Language) -> Parts:
    """The stored configuration (secrets in clear) with a change laid over it. Raises Refused 422.

    Only secrets that the change names are in the result: another one may be replaced at the same moment.
    """
    change = {name: value for name, value in given.items() if not _stays(kind, stored, name, value)}
    merged = {name: value for name, value in {**stored, **change}.items() if value is not None}
    _sent_again(kind, stored, change, merged, language)
    plain = kind.revealed(_validated(kind, merged, language))
    secrets = {name: plain.pop(name) or None for name in kind.secret_fields}
    return Parts(plain, {name: value for name, value in secrets.items() if name in change})


def shown(
    kind: Configured, config: Mapping[str, Any], secrets_set: frozenset[str], proxy: str | None = None
) -> dict[str, Any]:
    """The configuration as an answer shows it."""
    hidden = {name: SET if name in secrets_set else None for name in kind.secret_fields}
    return {**config, **hidden} | ({"proxy": masked(proxy)} if "proxy" in hidden else {})


def masked(proxy: str | None) -> str | None:
    """A proxy URL with its password, or a user name that stands alone, hidden."""
    if proxy is None:
        return None
    parts = urlsplit(proxy)
    credentials, at, host = parts.netloc.rpartition("@")
    if not at:
        return proxy
    user, colon, _ = credentials.partition(":")
    return urlunsplit(parts._replace(netloc=f"{user}:{MASK}@{host}" if colon else f"{MASK}@{host}"))


def _stays(kind: Configured, stored: Mapping[str, Any], name: str, value: object) -> bool:
    if name == "proxy" and isinstance(value, str):
        return value in (stored.get("proxy"), masked(stored.get("proxy")))
    return name in kind.secret_fields and value == SET


def _sent_again(
    kind: Configured,
    stored: Mapping[str, Any],
    change: Mapping[str, Any],
    merged: Mapping[str, Any],
    language: Language,
) -> None:
    moved = any(name in change and merged.get(name) != stored.get(name) for name in kind.address_fields)
    missing = [name for name in kind.sent_fields if moved and stored.get(name) and name not in change]
    if missing:
        message = field_message("secret_again", {}, language)
        raise invalid([FieldError(f"/config/{name}", message) for name in missing])


def _validated(kind: Configured, given: Mapping[str, Any], language: Language) -> BaseModel:
    unusable = [path for path, text in _texts(given, "/config") if not _storable(text)]
    if unusable:
        message = field_message("unstorable", {}, language)
        raise invalid([FieldError(path, message) for path in unusable[:50]])
    try:
        return kind.config.model_validate_json(json.dumps(whole(given)), strict=True)
    except ValidationError as error:
        raise invalid(field_errors(error.errors(), language, "/config")) from None


def _texts(value: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _texts(item, f"{path}/{name if _storable(name) else '?'}"[:200])
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            yield from _texts(item, f"{path}/{position}"[:200])


def _storable(text: str) -> bool:
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
