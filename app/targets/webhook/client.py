"""Posting one signed request, and what its answer means."""

import asyncio
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Final

import httpx
from standardwebhooks import Webhook

from app.errors import AskAdmin, TryLater
from app.targets.webhook.config import WebhookConfig
from app.targets.webhook.reach import Resolve, reachable, resolve
from app.targets.webhook.texts import error

TIMEOUT: Final = httpx.Timeout(20.0, connect=10.0)
LONGEST_SECONDS: Final = 30.0
LARGEST_ANSWER: Final = 65536
LONGEST_WAIT: Final = 86400
BUSY: Final = frozenset({408, 425, 429, 502, 503, 504})
MISPLACED: Final = frozenset({401, 403, 404, 405, 407})


@cache
def _certificates() -> ssl.SSLContext:
    """Read once: it takes 50 ms, and a target is opened for every change."""
    return httpx.create_ssl_context(trust_env=False)


class Sender:
    """One receiver. `allowed` are what its address may be beside a public one."""

    def __init__(self, config: WebhookConfig, allowed: Sequence[str], resolve: Resolve = resolve) -> None:
        self._config = config
        self._allowed = allowed
        self._resolve = resolve
        # No proxy of the environment: the address that was checked is the one that is connected to.
        self._client = httpx.AsyncClient(
            verify=_certificates(), timeout=TIMEOUT, follow_redirects=False, trust_env=False
        )

    async def post(self, id: str, media_type: str, body: str) -> int:
        """The status of the answer: 2xx, or what may be this event's own fault.

        Raises TryLater (nobody answers, or asks for patience) and AskAdmin (wrong here; `target.gone` on 410).
        """
        headers = {"Content-Type": media_type, "User-Agent": "wecom-sync"} | self.signed(id, body, datetime.now(UTC))
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                status, after = await self._post(headers, body.encode())
        except (httpx.TransportError, ssl.SSLError, TimeoutError):
            raise error(TryLater, "webhook.unavailable") from None
        return _judged(status, after)

    def signed(self, id: str, body: str, at: datetime) -> dict[str, str]:
        """The headers that prove who sent this and when (Standard Webhooks 1.0); during a rotation, twice."""
        signatures = [Webhook(secret).sign(id, at, body) for secret in self._secrets(at)]
        stamp = str(int(at.timestamp()))
        return {"webhook-id": id, "webhook-timestamp": stamp, "webhook-signature": " ".join(signatures)}

    def _secrets(self, at: datetime) -> list[str]:
        config = self._config
        over = config.old_secret_until is not None and config.old_secret_until <= at
        secrets = (config.secret, None if over else config.old_secret)
        return [secret.get_secret_value() for secret in secrets if secret is not None]

    async def _post(self, headers: dict[str, str], body: bytes) -> tuple[int, str | None]:
        url = httpx.URL(self._config.url)
        port = url.port or (443 if url.scheme == "https" else 80)
        addresses = await reachable(url.host, port, self._allowed, self._resolve)
        for address in addresses[:-1]:
            try:
                return await self._post_to(address, url, headers, body)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await self._post_to(addresses[-1], url, headers, body)

    async def _post_to(
        self, address: str, url: httpx.URL, headers: dict[str, str], body: bytes
    ) -> tuple[int, str | None]:
        own = {"Host": url.netloc.decode("ascii"), **headers}
        named = {"sni_hostname": url.raw_host.decode("ascii")}
        target = url.copy_with(host=address)
        async with self._client.stream("POST", target, content=body, headers=own, extensions=named) as answer:
            size = 0
            async for chunk in answer.aiter_raw():  # read to its end, the connection serves again
                size += len(chunk)
                if size > LARGEST_ANSWER:
                    break
            return answer.status_code, answer.headers.get("Retry-After")

    async def aclose(self) -> None:
        await self._client.aclose()


def _judged(status: int, after: str | None) -> int:
    if status in BUSY:
        raise _with_pause(error(TryLater, "webhook.busy", status=status), after)
    if status == 410:
        raise error(AskAdmin, "target.gone")
    if status in MISPLACED or 300 <= status < 400:
        raise error(AskAdmin, "webhook.refused", status=status)
    return status


def _with_pause(busy: TryLater, after: str | None) -> TryLater:
    """`Retry-After` in seconds, or as a date (RFC 9110, 10.2.3); nonsense is passed over."""
    if after and after.isdecimal():
        busy.after = float(min(int(after[:9]), LONGEST_WAIT))
    elif after:
        busy.after = _until(after)
    return busy


def _until(date: str) -> float | None:
    try:
        at = parsedate_to_datetime(date)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(max((at - datetime.now(UTC)).total_seconds(), 0.0), float(LONGEST_WAIT))
