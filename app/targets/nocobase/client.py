"""Talking to one NocoBase: a push, and reading back; every answer that is not a success becomes an error of ours.

Messages of ours never repeat what NocoBase answers: it quotes whole records.
"""

import ssl
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

import httpx

from app.errors import AskAdmin, TryLater
from app.targets.nocobase.config import NocoBaseConfig
from app.targets.nocobase.texts import error

TIMEOUT: Final = httpx.Timeout(15.0, read=150.0)
LIMITS: Final = httpx.Limits(max_connections=2, keepalive_expiry=4.0)
"""NocoBase closes an idle connection after 5 seconds."""
PASSING: Final = frozenset({408, 425, 429, 502, 503, 504})


class WholeBatch(Exception):
    """NocoBase refused a push as a whole because of something in it."""


class TooLarge(Exception):
    """The body of a push was too large."""


@cache
def _certificates() -> ssl.SSLContext:
    """Read once: it takes 50 ms, and a target is opened for every change."""
    return httpx.create_ssl_context()


def connect(config: NocoBaseConfig) -> httpx.AsyncClient:
    """A client for one NocoBase; the key stands in a header and nowhere else."""
    headers = {"Authorization": f"Bearer {config.api_key.get_secret_value()}"}
    return httpx.AsyncClient(
        verify=_certificates(), base_url=f"{config.url}/api/", headers=headers, timeout=TIMEOUT, limits=LIMITS
    )


async def push(
    client: httpx.AsyncClient, source: str, kind: str, records: Sequence[Mapping[str, Any]], match_key: str | None
) -> dict[str, str]:
    """The messages of the records that were not taken, by uid. Raises WholeBatch, TooLarge, TryLater, AskAdmin, and
    httpx.ReadTimeout: then NocoBase goes on with it."""
    body: dict[str, Any] = {"dataType": kind, "sourceName": source, "records": list(records)}
    body |= {"matchKey": match_key} if match_key else {}
    answer = await call(client, "POST", "/userData:push", json=body)
    failed: dict[str, str] = {}
    for part in _results(answer):
        for one in part["detail"].get("failedRecords", []):
            failed[str(one["record"].get("uid"))] = str(one.get("message"))
    return failed


async def call(client: httpx.AsyncClient, method: str, path: str, **given: Any) -> Any:
    """The JSON of an answer. Raises as `push` does."""
    try:
        answer = await client.request(method, path, **given)
    except httpx.ReadTimeout:
        raise
    except httpx.TransportError:
        raise error(TryLater, "nocobase.unavailable") from None
    try:
        body = answer.json()
    except ValueError:
        body = None
    if answer.is_success and isinstance(body, dict):
        return body
    raise _refusal(answer, body)


def _refusal(answer: httpx.Response, body: object) -> Exception:
    if answer.status_code in PASSING:
        return error(TryLater, "nocobase.unavailable")
    first = _first_error(body)
    if answer.status_code == 401:
        return error(AskAdmin, "nocobase.key_refused", reason=str(first.get("code") or "UNKNOWN")[:60])
    if answer.status_code == 403:
        return error(AskAdmin, "nocobase.not_permitted")
    if answer.status_code == 413:
        return TooLarge()
    message = _data_message(body)
    if message is not None and "is not supported" in message:
        return error(AskAdmin, "nocobase.no_departments")
    if message is not None or (first and answer.status_code in (400, 500)):
        return WholeBatch()
    if answer.status_code >= 500:
        return error(TryLater, "nocobase.unavailable")
    return error(AskAdmin, "nocobase.not_nocobase")


def _results(body: Any) -> list[Any]:
    try:
        result = body["data"]["result"]
        return [part for part in result if isinstance(part["detail"], dict)]
    except (KeyError, TypeError):
        raise error(AskAdmin, "nocobase.not_nocobase") from None


def _first_error(body: object) -> Mapping[str, Any]:
    errors = body.get("errors") if isinstance(body, dict) else None
    return errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}


def _data_message(body: object) -> str | None:
    data = body.get("data") if isinstance(body, dict) else None
    return str(data["message"]) if isinstance(data, dict) and "message" in data else None
