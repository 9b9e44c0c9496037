"""Reading a WeCom directory."""

from collections.abc import Callable

import httpx

from app.core.ports import Observe, Reader, TokenStore
from app.sources.wecom.config import WeComConfig

ClientFactory = Callable[[WeComConfig], httpx.AsyncClient]


def open_reader(
    config: WeComConfig, *, tokens: TokenStore, observe: Observe, client_factory: ClientFactory | None = None
) -> Reader:
    raise NotImplementedError
