"""The writer of a webhook target: events in order, in batches where that is wanted, and what became of each."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from app.core.outgoing import Origin, Outcome, Outgoing, Pairing
from app.errors import TryLater
from app.targets.webhook import events
from app.targets.webhook.client import Sender
from app.targets.webhook.config import WebhookConfig
from app.targets.webhook.events import Event
from app.targets.webhook.texts import TEXTS, error

AT_ONCE: Final = 20
"""Requests after which what was taken is marked, so that little is sent twice after a crash."""


class WebhookWriter:
    """A `Writer`."""

    def __init__(self, config: WebhookConfig, origin: Origin, sender: Sender) -> None:
        self.batch = max(AT_ONCE, config.batch_size)
        self._config = config
        self._origin = origin
        self._sender = sender

    def record(self, item: Outgoing) -> Mapping[str, object] | None:
        return events.record_of(item)

    async def write(self, items: Sequence[Outgoing]) -> list[Outcome]:
        """What nobody asked for is passed over.

        A refusal may be the event's own fault or the receiver's state. A test event tells: where that is taken, only
        the refused one waits; where it is not, everything does.
        """
        told = {item.object_id: events.event_of(item, self._origin) for item in items if self._wanted(item)}
        waiting, size, proven = list(told), self._config.batch_size, False
        outcomes: dict[str, Outcome] = {}
        while waiting:
            ids, waiting = waiting[:size], waiting[size:]
            status = await self._post([told[id_] for id_ in ids])
            if status >= 300 and not proven:
                await self._prove()
            proven = True
            if status >= 300 and len(ids) > 1:  # one event spoils its batch: by itself each shows which
                waiting, size = ids + waiting, 1
            else:
                outcomes |= dict.fromkeys(ids, _outcome(status))
        return [outcomes.get(item.object_id, Outcome("delivered")) for item in items]

    def _wanted(self, item: Outgoing) -> bool:
        wanted, kind = self._config.events, events.type_of(item)
        return wanted is None or kind in wanted or f"{item.kind}.*" in wanted

    async def _post(self, told: Sequence[Event]) -> int:
        return await self._sender.post(*events.enveloped(told, self._config.format, self._config.batch_size > 1))

    async def _prove(self) -> None:
        status = await self.ping()
        if status >= 300:
            raise error(TryLater, "webhook.unwell", status=status)

    async def ping(self) -> int:
        """Send a test event; the status of the answer. Raises as `Sender.post` does."""
        return await self._post([events.ping(self._origin, f"msg_{uuid.uuid4().hex}", datetime.now(UTC))])

    async def settle(self, since: datetime) -> None:
        """A receiver that works on after its answer is due drops by `sequence` what comes late."""

    async def pair(self, items: Sequence[Outgoing]) -> dict[str, Pairing]:
        return {}

    async def aclose(self) -> None:
        await self._sender.aclose()


def _outcome(status: int) -> Outcome:
    if status < 300:
        return Outcome("delivered", status=status)
    text = TEXTS["webhook.event_refused"]["en"].filled({"status": status})
    return Outcome("retrying", "webhook.event_refused", text.title, status)
