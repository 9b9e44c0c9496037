"""The named checks of a WeCom source."""

from dataclasses import dataclass
from datetime import datetime

from app.core.ports import Check, TokenStore
from app.sources.wecom.config import WeComConfig
from app.sources.wecom.reader import ClientFactory


@dataclass(frozen=True, slots=True)
class CallbackFacts:
    """What the service knows of a source's callback: its URL, when it was verified, when an event last came."""

    url: str
    verified_at: datetime | None = None
    last_event_at: datetime | None = None


async def check(
    config: WeComConfig, *, tokens: TokenStore, callback: CallbackFacts, client_factory: ClientFactory | None = None
) -> list[Check]:
    raise NotImplementedError
