"""Calls to WeCom's API over HTTP: budgets, retries, and answers that are what was asked for or an error saying why."""

import asyncio
import logging
import random
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, Final, Generic, TypeVar, cast

import httpx

from app.core.ports import Observe, Token, TokenStore
from app.errors import AskAdmin, ServiceError, TryLater
from app.sources.wecom.auth import TokenAuth, credential_key, document, errcode_of
from app.sources.wecom.config import WeComConfig
from app.sources.wecom.errcodes import LIMITED, MINUTE, OK, TABLE, UNKNOWN, said, to_error
from app.sources.wecom.records import Raw, Unusable, whole_number

RETRIES: Final = 3
FIRST_PAUSE: Final = 0.5
"""Seconds before the first retry; doubled for each further one, then spread by ±50 %."""

PER_MINUTE: Final = 9_000
PER_HOUR: Final = 135_000
"""Nine tenths of what WeCom allows a company per API (page 90312)."""

LARGEST_ANSWER: Final = 64 * 2**20
"""Bytes after decompression; 30,000 direct members, the most a department holds, stay below."""

CONNECTIONS: Final = 10
TIMEOUT: Final = httpx.Timeout(connect=10, read=60, write=10, pool=60)
TOKEN_LIFE_USED: Final = 0.95

T = TypeVar("T")
ClientFactory = Callable[[WeComConfig], httpx.AsyncClient]
Sleep = Callable[[float], Awaitable[object]]


def _without_query(record: logging.LogRecord) -> bool:
    """Let a line of httpx pass with its URLs cut before the query, which holds tokens and secrets."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            str(arg.copy_with(query=None)) if isinstance(arg, httpx.URL) else arg for arg in record.args
        )
    return True


logging.getLogger("httpx").addFilter(_without_query)
logging.getLogger("httpcore").setLevel(logging.WARNING)  # its debug lines hold proxy passwords


@cache
def _certificates() -> ssl.SSLContext:
    return httpx.create_ssl_context()


def connect(config: WeComConfig) -> httpx.AsyncClient:
    """An HTTP client for one source: through its proxy, else the environment's (but never to loopback addresses)."""
    return httpx.AsyncClient(
        verify=_certificates(),
        proxy=config.proxy.get_secret_value() if config.proxy else None,
        mounts=None if config.proxy else {"all://localhost": None, "all://127.0.0.1": None, "all://[::1]": None},
        limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS),
        timeout=TIMEOUT,
    )


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What a call read; `observed` numbers the request that brought it."""

    observed: int
    value: T


class Absent(Exception):
    """WeCom does not show the one object that was asked for; `errcode` is one that the caller named."""

    def __init__(self, observed: int, errcode: int) -> None:
        super().__init__(errcode)
        self.observed = observed
        self.errcode = errcode


class _Passing(Exception):
    """A fault that the next attempt may not meet; `error` is what it becomes after the last one."""

    def __init__(self, error: ServiceError) -> None:
        super().__init__(error.code)
        self.error = error


class Client:
    """The API of one company. `skew` is our clock minus WeCom's, None until an answer said what time it is.

    `observe` is called once for every request that is sent, gettoken included. `app` and `contacts` are the two
    credentials, None where there is no secret. `patience` is the longest wait for a budget, in seconds; what would take
    longer is TryLater at once.
    """

    def __init__(
        self,
        config: WeComConfig,
        *,
        tokens: TokenStore,
        observe: Observe,
        client_factory: ClientFactory | None = None,
        patience: float = float("inf"),
        sleep: Sleep = asyncio.sleep,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self.skew: timedelta | None = None
        self._config = config
        self._tokens = tokens
        self._observe = observe
        self._patience = patience
        self._sleep = sleep
        self._spread = spread
        self._http = (client_factory or connect)(config)
        hooks = self._http.event_hooks
        self._http.event_hooks = {
            "request": [*hooks["request"], self._sending],
            "response": [*hooks["response"], _bound],
        }
        self.app = self._auth(config.app_secret.get_secret_value()) if config.app_secret else None
        self.contacts = self._auth(config.contacts_secret.get_secret_value()) if config.contacts_secret else None

    async def aclose(self) -> None:
        await self._http.aclose()

    async def get(
        self,
        api: str,
        auth: TokenAuth | None,
        read: Callable[[Raw], T],
        *,
        absent: frozenset[int] = frozenset(),
        **params: str | int,
    ) -> Answer[T]:
        """Call a GET interface; `read` takes the value out of the answer and raises Unusable if it is not there.

        Raises Absent for an errcode in `absent`, TryLater or AskAdmin for every other fault and refusal.
        """
        return await self._patiently(api, lambda: self._request("GET", api, params=params), auth, read, absent)

    async def post(
        self,
        api: str,
        auth: TokenAuth | None,
        read: Callable[[Raw], T],
        body: Raw,
        *,
        absent: frozenset[int] = frozenset(),
    ) -> Answer[T]:
        """Call a POST interface that only reads, and may thus be repeated; otherwise as `get`."""
        return await self._patiently(api, lambda: self._request("POST", api, json=body), auth, read, absent)

    def _auth(self, secret: str) -> TokenAuth:
        corp_id = self._config.corp_id

        async def fetch() -> Token:
            return (await self.get("gettoken", None, _token, corpid=corp_id, corpsecret=secret)).value

        return TokenAuth(credential_key(self._config.base_url, corp_id, secret), tokens=self._tokens, fetch=fetch)

    def _request(self, method: str, api: str, **content: Any) -> httpx.Request:
        return self._http.build_request(
            method,
            f"{self._config.base_url}/cgi-bin/{api}",
            headers={"Accept-Encoding": "gzip"},
            extensions={"api": api},
            **content,
        )

    async def _patiently(
        self,
        api: str,
        request: Callable[[], httpx.Request],
        auth: TokenAuth | None,
        read: Callable[[Raw], T],
        absent: frozenset[int],
    ) -> Answer[T]:
        attempt = 0
        while True:
            try:
                return await self._taken(api, await self._sent(request(), auth), read, absent)
            except _Passing as passing:
                if attempt == RETRIES:
                    raise passing.error from None
            await self._sleep(FIRST_PAUSE * 2**attempt * (0.5 + self._spread()))
            attempt += 1

    async def _sending(self, request: httpx.Request) -> None:
        """Just before each request leaves, a repeated one too: keep to the budget, then take the observation number."""
        api = request.extensions["api"]
        while (wait := await self._spend(api)) > 0:
            if wait > self._patience:
                raise _limited(api, wait)
            await self._sleep(wait)
        request.extensions["observed"] = await self._observe()

    async def _spend(self, api: str) -> float:
        return await self._tokens.spend(self._config.corp_id, api, per_minute=PER_MINUTE, per_hour=PER_HOUR)

    async def _sent(self, request: httpx.Request, auth: TokenAuth | None) -> httpx.Response:
        try:
            return await self._http.send(request, auth=auth)
        except httpx.ProxyError as error:
            raise _Passing(said("wecom.proxy_failed", TryLater, cause=type(error).__name__)) from None
        except httpx.RequestError as error:
            raise _Passing(said("wecom.unreachable", TryLater, cause=type(error).__name__)) from None

    async def _taken(
        self, api: str, response: httpx.Response, read: Callable[[Raw], T], absent: frozenset[int]
    ) -> Answer[T]:
        self._compare_clocks(response)
        status = response.status_code
        if status >= 500 or status in (408, 429):
            raise _Passing(said("wecom.server_error", TryLater, api=api, status=status))
        if status != 200:
            raise said("wecom.http_refused", AskAdmin, api=api, status=status)
        raw = document(response)
        errcode = errcode_of(raw) if isinstance(raw, Mapping) else None
        if not isinstance(raw, Mapping) or errcode is None:
            raise _Passing(said("wecom.bad_answer", TryLater, api=api))
        observed: int = response.request.extensions["observed"]
        if errcode in absent:
            raise Absent(observed, errcode)
        if errcode != OK:
            raise await self._refused(api, errcode, str(raw.get("errmsg", "")))
        try:
            return Answer(observed, read(raw))
        except Unusable:
            raise _Passing(said("wecom.bad_answer", TryLater, api=api)) from None

    async def _refused(self, api: str, errcode: int, errmsg: str) -> ServiceError | _Passing:
        error = to_error(errcode, errmsg, api)
        if errcode in LIMITED:
            await self._tokens.block(self._config.corp_id, api, MINUTE)
        return _Passing(error) if TABLE.get(errcode, UNKNOWN).retry else error

    def _compare_clocks(self, response: httpx.Response) -> None:
        try:
            theirs = parsedate_to_datetime(response.headers["Date"])
        except (KeyError, ValueError):
            return
        self.skew = datetime.now(UTC) - (theirs if theirs.tzinfo else theirs.replace(tzinfo=UTC))


def _limited(api: str, wait: float) -> ServiceError:
    error = said("wecom.frequency_limit", TryLater, api=api)
    error.after = wait
    return error


def _token(raw: Raw) -> Token:
    value, life = raw.get("access_token"), whole_number(raw.get("expires_in"))
    if not isinstance(value, str) or not value or not life:
        raise Unusable("access_token: missing")
    return Token(value, datetime.now(UTC) + timedelta(seconds=min(life, 86_400) * TOKEN_LIFE_USED))


async def _bound(response: httpx.Response) -> None:
    """Let the answer grow no larger than LARGEST_ANSWER, compressed or not."""
    gzipped = response.headers.get("Content-Encoding", "").strip().lower() == "gzip"
    if gzipped:
        del response.headers["Content-Encoding"]
    stream = cast(httpx.AsyncByteStream, response.stream)  # an async client's always is
    response.stream = _Bounded(stream, response.request.extensions["api"], gzipped=gzipped)


class _Bounded(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream, api: str, *, gzipped: bool) -> None:
        self._stream = stream
        self._api = api
        self._unzip = zlib.decompressobj(16 + zlib.MAX_WBITS) if gzipped else None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = LARGEST_ANSWER
        async for part in self._stream:
            plain = self._plain(part, left)
            left -= len(plain)
            if left < 0:
                raise said("wecom.answer_too_large", AskAdmin, api=self._api)
            yield plain

    def _plain(self, part: bytes, left: int) -> bytes:
        if self._unzip is None:
            return part
        try:
            return self._unzip.decompress(part, left + 1)
        except zlib.error as error:
            raise httpx.DecodingError("not gzip") from error

    async def aclose(self) -> None:
        await self._stream.aclose()
