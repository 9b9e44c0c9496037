"""The access token of a credential (page 91039): fetched once for all workers, sent in the query, renewed if stale."""

import hashlib
import hmac
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import httpx

from app.core.ports import Token, TokenStore
from app.errors import AskAdmin, ServiceError, Upstream
from app.sources.wecom.errcodes import BREAKS, TOKEN_OF_NO_USE, WRONG_SECRET

STALE: Final = TOKEN_OF_NO_USE | {WRONG_SECRET}


def credential_key(base_url: str, corp_id: str, secret: str) -> str:
    """An opaque name of one secret of one company at one address; HMAC-SHA-256 keyed by the secret reveals neither."""
    return hmac.new(secret.encode(), f"wecom\0{base_url}\0{corp_id}".encode(), hashlib.sha256).hexdigest()


def document(response: httpx.Response) -> object:
    """The JSON of a fully read answer, parsed once; None for what is not JSON (or a bare null)."""
    if "document" not in response.extensions:
        try:
            response.extensions["document"] = json.loads(response.content)
        except (ValueError, RecursionError):
            response.extensions["document"] = None
    return response.extensions["document"]


def errcode_of(raw: Mapping[str, Any]) -> int | None:
    """The errcode of an answer, 0 where there is none; None for one that is no number."""
    errcode = raw.get("errcode", 0)
    if isinstance(errcode, str) and errcode.removeprefix("-").isdecimal():
        errcode = int(errcode)
    return errcode if isinstance(errcode, int) and not isinstance(errcode, bool) else None


class TokenAuth(httpx.Auth):
    """`fetch` sends gettoken. A refused secret is recorded in the store and not sent again by anybody."""

    requires_response_body = True

    def __init__(self, credential: str, *, tokens: TokenStore, fetch: Callable[[], Awaitable[Token]]) -> None:
        self.credential = credential
        self._tokens = tokens
        self._fetch = fetch
        self._held: Token | None = None

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        token = await self.token()
        response = yield _signed(request, token)
        await response.aread()
        raw = document(response)
        if isinstance(raw, Mapping) and errcode_of(raw) in STALE:
            await self._forget(token)
            yield _signed(request, await self.token())

    async def token(self) -> Token:
        """A token to use now. Raises the recorded error of a broken credential, or what gettoken was refused with."""
        held = self._held
        if held is None or not _lives(held):
            held = self._held = await self._stored() or await self._renewed()
        return held

    async def prove(self) -> None:
        """Ask WeCom for a token now, whatever is stored, even if the secret is recorded as wrong; raises as `token`."""
        stored = await self._tokens.get(self.credential)
        if stored is not None:
            await self._forget(stored)
        if await self._tokens.broken(self.credential) is not None:
            await self._tokens.mend(self.credential)
        self._held = None
        await self.token()

    async def _stored(self) -> Token | None:
        token = await self._tokens.get(self.credential)
        if token is not None and _lives(token):
            return token
        record = await self._tokens.broken(self.credential)
        if record is not None:
            raise _recorded(record)
        return None

    async def _renewed(self) -> Token:
        async with self._tokens.refreshing(self.credential):
            found = await self._stored()
            if found is not None:
                return found
            try:
                token = await self._fetch()
            except ServiceError as error:
                if error.upstream is not None and error.upstream.errcode in BREAKS:
                    await self._tokens.break_(self.credential, error.record())
                raise
            await self._tokens.put(self.credential, token)
            return token

    async def _forget(self, token: Token) -> None:
        if self._held is token:
            self._held = None
        await self._tokens.drop(self.credential, token.value)


def _lives(token: Token) -> bool:
    return datetime.now(UTC) < token.expires_at


def _signed(request: httpx.Request, token: Token) -> httpx.Request:
    """The token goes into the query and nowhere else: WeCom does not look for it in headers or bodies."""
    request.url = request.url.copy_set_param("access_token", token.value)
    return request


def _recorded(record: Mapping[str, Any]) -> ServiceError:
    upstream = record.get("upstream")
    return AskAdmin(
        record["code"],
        record["message"],
        record["hint"],
        dict(record["params"]),
        Upstream(**upstream) if upstream else None,
    )
