"""Whether a webhook target can work: its address, and a test event that is really sent."""

from typing import Final
from urllib.parse import urlsplit

from app.core.ports import Check
from app.core.texts import Text
from app.errors import ServiceError
from app.targets.webhook.config import WebhookConfig
from app.targets.webhook.texts import TEXTS
from app.targets.webhook.writer import WebhookWriter

LOCAL: Final = ("localhost", "127.0.0.1", "::1")


async def check(config: WebhookConfig, writer: WebhookWriter) -> list[Check]:
    """`encryption`, and `delivery`: what the receiver answers to a test event of the type `ping`."""
    url = urlsplit(config.url)
    plain = url.scheme == "http" and url.hostname not in LOCAL
    encryption = _said("encryption", "warning" if plain else "ok", "webhook.plain_http" if plain else "webhook.ok")
    return [encryption, await _delivery(writer)]


async def _delivery(writer: WebhookWriter) -> Check:
    try:
        status = await writer.ping()
    except ServiceError as refused:
        return Check("delivery", "failed", refused.message, refused.hint, refused.code, params=refused.params)
    finally:
        await writer.aclose()
    if status < 300:
        return _said("delivery", "ok", "webhook.ok")
    return _said("delivery", "failed", "webhook.unwell", status=status)


def _said(name: str, result: str, code: str, **params: int) -> Check:
    text: Text = TEXTS[code]["en"].filled(params)
    found = None if code == "webhook.ok" else code
    return Check(name, result, text.title, text.hint, found, params=params)  # type: ignore[arg-type]
