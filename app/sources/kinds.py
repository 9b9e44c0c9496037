"""The kinds of source there are. A new provider is one folder and one line here."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import httpx
from pydantic import BaseModel

from app.core.ports import CallbackPair, Check, Listener, Observe, Reader, TokenStore
from app.core.texts import Text
from app.sources.wecom import check as wecom_check
from app.sources.wecom import config as wecom_config
from app.sources.wecom import crypto as wecom_crypto
from app.sources.wecom import errcodes as wecom_errcodes
from app.sources.wecom import listener as wecom_listener
from app.sources.wecom import reader as wecom_reader
from app.sources.wecom.check import CallbackFacts

ClientFactory = Callable[[Any], httpx.AsyncClient]
"""Makes the HTTP client of one source from its configuration; tests hand in one that ends in a simulated provider."""


class OpenReader(Protocol):
    def __call__(
        self, config: Any, *, tokens: TokenStore, observe: Observe, client_factory: ClientFactory | None = None
    ) -> Reader:
        """A reader with its own HTTP client, to be closed by `aclose`; opening sends nothing."""
        ...


class CheckSource(Protocol):
    def __call__(
        self, config: Any, *, tokens: TokenStore, callback: CallbackFacts, client_factory: ClientFactory | None = None
    ) -> Awaitable[list[Check]]:
        """Every check in a fixed order; a check that fails is in the list, none is raised."""
        ...


@dataclass(frozen=True, slots=True)
class Kind:
    """Everything the rest of the service needs of one kind of source. `config` arguments are instances of `config`.

    `secret_fields` are the fields of the configuration that are sealed and never shown, `sent_fields` those of them
    that are sent to the address in `address_fields`; `revealed` gives the whole of
    it as JSON values, secrets in clear, for sealing. `texts` holds title and hint by error or check code and language.
    """

    name: str
    config: type[BaseModel]
    secret_fields: tuple[str, ...]
    address_fields: tuple[str, ...]
    sent_fields: tuple[str, ...]
    listener: Listener
    open_reader: OpenReader
    check: CheckSource
    callback_pairs: Callable[[Any], list[CallbackPair]]
    fresh_pair: Callable[[Any], CallbackPair]
    revealed: Callable[[Any], dict[str, Any]]
    texts: Mapping[str, Mapping[str, Text]]


WECOM: Final = Kind(
    name="wecom",
    config=wecom_config.WeComConfig,
    secret_fields=wecom_config.SECRET_FIELDS,
    address_fields=wecom_config.ADDRESS_FIELDS,
    sent_fields=wecom_config.SENT_FIELDS,
    listener=wecom_listener.WeComListener(),
    open_reader=wecom_reader.WeComReader,
    check=wecom_check.check,
    callback_pairs=wecom_config.WeComConfig.callback_pairs,
    fresh_pair=lambda config: wecom_crypto.fresh_pair(config.corp_id),
    revealed=wecom_config.WeComConfig.revealed,
    texts=wecom_errcodes.TEXTS,
)

KINDS: Final[Mapping[str, Kind]] = {kind.name: kind for kind in (WECOM,)}
