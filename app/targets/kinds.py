"""The kinds of target there are. A new one is one folder and one line here."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel

from app.core.outgoing import Origin
from app.core.ports import Check, Writer
from app.core.texts import Text
from app.targets.nocobase import check as nocobase_check
from app.targets.nocobase import config as nocobase_config
from app.targets.nocobase import texts as nocobase_texts
from app.targets.nocobase import writer as nocobase_writer
from app.targets.webhook import check as webhook_check
from app.targets.webhook import config as webhook_config
from app.targets.webhook import texts as webhook_texts
from app.targets.webhook import writer as webhook_writer
from app.targets.webhook.client import Sender


@dataclass(frozen=True, slots=True)
class TargetKind:
    """Everything the rest of the service needs of one kind of target. `config` arguments are instances of `config`.

    `secret_fields` are the fields of the configuration that are sealed and never shown; a change of one of
    `address_fields` demands the secrets of `sent_fields` again. `revealed` gives the whole of it as JSON values,
    secrets in clear, for sealing. Targets whose `channel` is the same are written in turn. `open_writer` and `check`
    take the origin of what goes out and the setting WEBHOOK_ALLOW, too. `wants_news`: it is told of runs and of other
    targets. `completed` gives the secrets to add to a new configuration, `rotated` (None where we make no secrets) the
    changes of a stored one that put a fresh secret in the place of the present, which is good until a time.
    `texts` holds title and hint by error or check code and language.
    """

    name: str
    config: type[BaseModel]
    secret_fields: tuple[str, ...]
    address_fields: tuple[str, ...]
    sent_fields: tuple[str, ...]
    revealed: Callable[[Any], dict[str, Any]]
    channel: Callable[[Any], str]
    open_writer: Callable[[Any, Origin, Sequence[str]], Writer]
    check: Callable[[Any, Origin, Sequence[str]], Awaitable[list[Check]]]
    wants_news: bool
    texts: Mapping[str, Mapping[str, Text]]
    completed: Callable[[Mapping[str, Any]], dict[str, str]] = lambda given: {}
    rotated: Callable[[Mapping[str, Any], datetime], dict[str, Any]] | None = None


def _webhook_writer(
    config: webhook_config.WebhookConfig, origin: Origin, allowed: Sequence[str]
) -> webhook_writer.WebhookWriter:
    return webhook_writer.WebhookWriter(config, origin, Sender(config, allowed))


NOCOBASE: Final = TargetKind(
    name="nocobase",
    config=nocobase_config.NocoBaseConfig,
    secret_fields=nocobase_config.SECRET_FIELDS,
    address_fields=nocobase_config.ADDRESS_FIELDS,
    sent_fields=nocobase_config.SECRET_FIELDS,
    revealed=nocobase_config.revealed,
    channel=nocobase_config.channel,
    open_writer=lambda config, origin, _allowed: nocobase_writer.NocoBaseWriter(config, origin.corp_id),
    check=lambda config, _origin, _allowed: nocobase_check.check(config),
    wants_news=False,
    texts=nocobase_texts.TEXTS,
)

WEBHOOK: Final = TargetKind(
    name="webhook",
    config=webhook_config.WebhookConfig,
    secret_fields=webhook_config.SECRET_FIELDS,
    address_fields=webhook_config.ADDRESS_FIELDS,
    sent_fields=webhook_config.SECRET_FIELDS,
    revealed=webhook_config.revealed,
    channel=webhook_config.channel,
    open_writer=_webhook_writer,
    check=lambda config, origin, allowed: webhook_check.check(config, _webhook_writer(config, origin, allowed)),
    wants_news=True,
    texts=webhook_texts.TEXTS,
    completed=webhook_config.completed,
    rotated=webhook_config.rotated,
)

KINDS: Final[Mapping[str, TargetKind]] = {kind.name: kind for kind in (NOCOBASE, WEBHOOK)}
