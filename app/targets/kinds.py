"""The kinds of target there are. A new one is one folder and one line here."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from app.core.ports import Check, Writer
from app.core.texts import Text
from app.targets.nocobase import check as nocobase_check
from app.targets.nocobase import config as nocobase_config
from app.targets.nocobase import texts as nocobase_texts
from app.targets.nocobase import writer as nocobase_writer


@dataclass(frozen=True, slots=True)
class TargetKind:
    """Everything the rest of the service needs of one kind of target. `config` arguments are instances of `config`.

    `secret_fields` are the fields of the configuration that are sealed and never shown; a change of one of
    `address_fields` demands the secrets of `sent_fields` again. `revealed` gives the whole of it as JSON values,
    secrets in clear, for sealing. Targets whose `channel` is the same are written in turn. `open_writer` takes the
    CorpID, too. `wants_runs`: it is told of runs. `texts` holds title and hint by error or check code and language.
    """

    name: str
    config: type[BaseModel]
    secret_fields: tuple[str, ...]
    address_fields: tuple[str, ...]
    sent_fields: tuple[str, ...]
    revealed: Callable[[Any], dict[str, Any]]
    channel: Callable[[Any], str]
    open_writer: Callable[[Any, str], Writer]
    check: Callable[[Any], Awaitable[list[Check]]]
    wants_runs: bool
    texts: Mapping[str, Mapping[str, Text]]


NOCOBASE: Final = TargetKind(
    name="nocobase",
    config=nocobase_config.NocoBaseConfig,
    secret_fields=nocobase_config.SECRET_FIELDS,
    address_fields=nocobase_config.ADDRESS_FIELDS,
    sent_fields=nocobase_config.SECRET_FIELDS,
    revealed=nocobase_config.revealed,
    channel=nocobase_config.channel,
    open_writer=nocobase_writer.NocoBaseWriter,
    check=nocobase_check.check,
    wants_runs=False,
    texts=nocobase_texts.TEXTS,
)

KINDS: Final[Mapping[str, TargetKind]] = {kind.name: kind for kind in (NOCOBASE,)}
