"""What surrounds every request: its id, its line in the log, its last resort, its security headers, its token.

Pure ASGI. The log names the operation, never a path or a query: those may hold people's data, tokens and callback keys.
"""

import hmac
import re
import secrets
import time
from collections.abc import Callable
from typing import Final

import structlog
from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problem import respond
from app.errors import Refused, ServiceError

log = structlog.get_logger("app.http")

REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
OUR_ID: Final = re.compile(r"(?:src|run|usr|dep|evt|tgt|dlv)_[0-9A-Za-z]{1,64}")
QUIET: Final = frozenset({"get_health", "get_readiness", "get_metrics"})
LARGEST_BODY: Final = 1 << 20

Observed = Callable[[str, str, int, float], None]
"""Told the method, operation, status and seconds of every finished request."""


class ResponseCut(Exception):
    """The answer had begun when something broke: the connection is cut, so that nobody takes half for the whole."""


class Trace:
    """Gives a request its id, logs it once, and answers 500 for a bug without a word about its inside."""

    def __init__(self, app: ASGIApp, observed: Observed) -> None:
        self.app = app
        self.observed = observed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope["request_id"] = request_id
        status = 0

        async def send_traced(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        begun = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self.app(scope, receive, send_traced)
            except ClientDisconnect:
                log.debug("client left")
            except Exception as error:
                log.error("unexpected", operation=_operation(scope), exc_info=error)
                if status:
                    raise ResponseCut(request_id) from None
                bug = Refused("server.error", "Something went wrong in the service itself.", status=500)
                await respond(Request(scope), bug, 500)(scope, receive, send_traced)
            finally:
                self._finished(scope, status, time.perf_counter() - begun)

    def _finished(self, scope: Scope, status: int, seconds: float) -> None:
        operation = _operation(scope)
        self.observed(scope["method"], operation, status, seconds)
        # Counted in the metrics; a line for each of them would cost a third of the throughput.
        taken = operation == "callback" and status == 200
        write = log.debug if taken or operation in QUIET else log.info
        ids = {k: v for k, v in scope.get("path_params", {}).items() if OUR_ID.fullmatch(str(v))}
        write("request", method=scope["method"], operation=operation, status=status, ms=round(seconds * 1000, 1), **ids)


class SecurityHeaders:
    """A page of ours loads nothing from elsewhere and is framed by nobody; answers are kept by no cache."""

    DEFAULTS: Final = {
        b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
        b"x-content-type-options": b"nosniff",
        b"referrer-policy": b"no-referrer",
        b"cache-control": b"no-store",
    }

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                missing = [pair for pair in self.DEFAULTS.items() if pair[0] not in given]
                message["headers"] = [*message["headers"], *missing]
            await send(message)

        await self.app(scope, receive, send_guarded if scope["type"] == "http" else send)


class Gate:
    """Lets nothing under /api/v1 in without the token, and no body above 1 MiB."""

    def __init__(self, app: ASGIApp, token: Callable[[], str], metrics_public: bool) -> None:
        self.app = app
        self.token = token
        self.metrics_public = metrics_public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._guards(scope):
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        if not is_bearer(request, self.token()):
            headers = {"WWW-Authenticate": 'Bearer realm="wecom-sync"'}
            await _refuse(request, Refused("request.unauthorized", "", status=401), headers)(scope, receive, send)
        elif _announced(request) > LARGEST_BODY:
            headers = {"Connection": "close"}
            await _refuse(request, Refused("request.too_large", "", status=413), headers)(scope, receive, send)
        else:
            await self.app(scope, _limited(receive), send)

    def _guards(self, scope: Scope) -> bool:
        path: str = scope["path"].removeprefix(scope.get("root_path", ""))
        if path == "/metrics":
            return not self.metrics_public
        return path == "/api/v1" or path.startswith("/api/v1/")


def is_bearer(request: Request, token: str) -> bool:
    """Whether the request carries this token; takes the same time however much of it is right."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return hmac.compare_digest(given.strip().encode(), token.encode()) and scheme.lower() == "bearer"


def _refuse(request: Request, error: ServiceError, headers: dict[str, str]) -> ASGIApp:
    return respond(request, error, error.status if isinstance(error, Refused) else 500, headers)


def _announced(request: Request) -> int:
    length = request.headers.get("content-length", "0")
    return int(length) if length.isascii() and length.isdigit() and len(length) < 20 else LARGEST_BODY + 1


def _limited(receive: Receive) -> Receive:
    received = 0

    async def receive_limited() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > LARGEST_BODY:
            raise HTTPException(413)
        return message

    return receive_limited


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and REQUEST_ID.fullmatch(value.decode("latin-1")):
            return str(value.decode())
    return f"req_{secrets.token_hex(10)}"


def _operation(scope: Scope) -> str:
    return getattr(scope.get("endpoint"), "__name__", "unmatched")
