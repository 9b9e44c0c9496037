"""The kinds of target there are. A new one is one folder and one line here."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from app.core.ports import Check, Writer
from app.core.texts import Text
from app.targets.context import Context


@dataclass(frozen=True, slots=True)
class TargetKind:
    """Everything the rest of the service needs of one kind of target. `config` arguments are instances of `config`.

    `secret_fields` are the fields of the configuration that are sealed and never shown; a change of one of
    `address_fields` demands the secrets again. `revealed` gives the whole of it as JSON values, secrets in clear, for
    sealing. `made` are secrets that we make when a new target leaves them out, to be shown once. Targets whose
    `channel` is the same are written in turn. `wants_runs`: it is told of runs, too. `texts` holds title and hint by
    error or check code and language.
    """

    name: str
    config: type[BaseModel]
    secret_fields: tuple[str, ...]
    address_fields: tuple[str, ...]
    revealed: Callable[[Any], dict[str, Any]]
    made: Mapping[str, Callable[[], str]]
    channel: Callable[[Any, Context], str]
    open_writer: Callable[[Any, Context], Writer]
    check: Callable[[Any, Context], Awaitable[list[Check]]]
    wants_runs: bool
    texts: Mapping[str, Mapping[str, Text]]


KINDS: Final[Mapping[str, TargetKind]] = {}
