"""Where WeCom delivers: verify, decrypt, store, answer. No network, no worker and no API credential is needed.

A plain Starlette route, because a parameter machinery would cost half of the throughput. Whatever a stranger sends
gets one of a few constant answers.
"""

from typing import Any, Final
from urllib.parse import unquote

import structlog
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from app.api.deps import Service, service_of
from app.core.ports import CallbackRefused
from app.errors import ServiceError
from app.sources.kinds import KINDS
from app.store.sources import Receiver

log = structlog.get_logger("app.callbacks")

LARGEST_BODY: Final = 1 << 20
LONGEST_KEY: Final = 128

_REFUSALS: Final = {
    400: "not an envelope",
    403: "refused",
    404: "not found",
    413: "too large",
    503: "not stored, send again",
}


async def verify_callback(request: Request) -> Response:
    """WeCom asks whether this URL is ours: the decrypted `echostr`, byte for byte."""
    service = service_of(request)
    try:
        receiver = await _receiver(service, request)
        echo, index = KINDS[receiver.kind].listener.verify(receiver.pairs, raw_query(request))
        async with service.db.write() as conn:
            await service.sources.pair_used(conn, receiver.source_id, receiver.pairs[index], verified=True)
    except (CallbackRefused, ServiceError) as error:
        return _refused(service, error)
    service.metrics.callback("verified")
    return Response(echo, media_type="text/plain")


async def receive_callback(request: Request) -> Response:
    """WeCom tells of a change: `success` once the event is durably stored."""
    service = service_of(request)
    try:
        receiver = await _receiver(service, request)
        body = await limited_body(request)
        event, index = KINDS[receiver.kind].listener.receive(receiver.pairs, raw_query(request), body)
        stored = await service.inbox.put(receiver.source_id, event)
        if index == receiver.awaited:
            async with service.db.write() as conn:
                await service.sources.pair_used(conn, receiver.source_id, receiver.pairs[index], verified=False)
    except (CallbackRefused, ServiceError) as error:
        return _refused(service, error)
    if receiver.enabled and (stored.new or stored.reopened):
        service.engine.wake("events", receiver.source_id)
    service.metrics.callback("stored" if stored.new else "duplicate")
    return PlainTextResponse("success")


def raw_query(request: Request) -> dict[str, str]:
    """The query with `+` left alone: WeCom's base64 is not always percent-encoded. Of a repeated name the first."""
    pairs = (part.partition("=") for part in request.scope["query_string"].decode("latin-1").split("&")[:50])
    query: dict[str, str] = {}
    for name, _, value in pairs:
        query.setdefault(unquote(name), unquote(value))
    return query


async def limited_body(request: Request) -> bytes:
    """The body, of which never more than 1 MiB is held; refused before reading where the length says so."""
    announced = request.headers.get("content-length", "0")
    if not (announced.isascii() and announced.isdigit()) or len(announced) > 12 or int(announced) > LARGEST_BODY:
        raise CallbackRefused(413, "callback.too_large")
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > LARGEST_BODY:
            raise CallbackRefused(413, "callback.too_large")
        parts.append(part)
    return b"".join(parts)


async def _receiver(service: Service, request: Request) -> Receiver:
    key: str = request.path_params["key"]
    usable = len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()
    receiver = await service.sources.by_callback_key(service.db, key) if usable else None
    if receiver is None:
        raise CallbackRefused(404, "callback.unknown_key")
    return receiver


def _refused(service: Service, error: CallbackRefused | ServiceError) -> Response:
    """What cannot be stored now is 503, so that WeCom sends it again."""
    status = error.status if isinstance(error, CallbackRefused) else 503
    service.metrics.callback(error.code)
    log.info("callback refused", code=error.code, status=status)
    headers = {413: {"Connection": "close"}, 503: {"Retry-After": "1"}}.get(status)
    return PlainTextResponse(_REFUSALS[status], status, headers=headers)


async def callback(request: Request) -> Response:
    """Both under one route, so that another method is told of both."""
    return await (receive_callback if request.method == "POST" else verify_callback)(request)


ROUTE: Final = Route("/callbacks/{key}", callback, methods=["GET", "POST"])


def _answer(description: str, text: str) -> dict[str, Any]:
    content = {"text/plain": {"schema": {"type": "string"}, "example": text}}
    return {"description": description, "content": content}


def _parameters(*names: tuple[str, str]) -> list[dict[str, Any]]:
    key = {
        "name": "key",
        "in": "path",
        "required": True,
        "description": "The last part of the source's `callback_url`.",
        "schema": {"type": "string"},
    }
    query = [
        {"name": name, "in": "query", "required": True, "description": text, "schema": {"type": "string"}}
        for name, text in names
    ]
    return [key, *query]


_SIGNED: Final = (
    ("msg_signature", "SHA-1 of the sorted Token, timestamp, nonce and ciphertext."),
    ("timestamp", "Seconds since 1970."),
    ("nonce", "Random text."),
)
_REFUSED: Final = {
    "400": _answer("Not the envelope that WeCom sends.", _REFUSALS[400]),
    "403": _answer("The signature is wrong, or it cannot be decrypted, or it is for another receiver.", _REFUSALS[403]),
    "404": _answer("No source has this key.", _REFUSALS[404]),
    "503": _answer("Not stored; WeCom sends it again.", _REFUSALS[503]),
}

PATHS: Final[dict[str, Any]] = {
    "/callbacks/{key}": {
        "get": {
            "tags": ["Callback"],
            "summary": "Verify the callback URL",
            "description": verify_callback.__doc__,
            "operationId": "verify_callback",
            "security": [],
            "parameters": _parameters(*_SIGNED, ("echostr", "Ciphertext to be decrypted.")),
            "responses": {"200": _answer("The decrypted echostr.", "1616140317555161061"), **_REFUSED},
        },
        "post": {
            "tags": ["Callback"],
            "summary": "Receive an event",
            "description": receive_callback.__doc__,
            "operationId": "receive_callback",
            "security": [],
            "parameters": _parameters(*_SIGNED),
            "requestBody": {
                "required": True,
                "content": {
                    "text/xml": {
                        "schema": {"type": "string"},
                        "example": "<xml><ToUserName>ww1436e0e65a779aee</ToUserName><Encrypt>…</Encrypt></xml>",
                    }
                },
            },
            "responses": {
                "200": _answer("The event is durably stored.", "success"),
                **_REFUSED,
                "413": _answer("Larger than 1 MiB.", _REFUSALS[413]),
            },
        },
    }
}
"""How the document describes these two."""
