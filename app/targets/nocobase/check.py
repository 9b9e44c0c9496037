"""Whether a NocoBase target can work, check by check; nothing is written there."""

from typing import Final
from urllib.parse import urlsplit

import httpx

from app.core.ports import Check
from app.core.texts import Text
from app.errors import ServiceError
from app.targets.nocobase.client import TooLarge, WholeBatch, call, connect
from app.targets.nocobase.config import NocoBaseConfig
from app.targets.nocobase.texts import TEXTS

NAMES: Final = ("address", "permission", "departments", "reading")
LOCAL: Final = ("localhost", "127.0.0.1", "::1")


async def check(config: NocoBaseConfig, client: httpx.AsyncClient | None = None) -> list[Check]:
    """Every check in a fixed order; after one that fails, those that depend on it are skipped."""
    async with client or connect(config) as opened:
        checks = [await _permission(opened)]
        if checks[0].status == "ok":
            checks += [await _departments(opened), await _reading(opened)]
    return [*_settings(config), *checks]


async def _permission(client: httpx.AsyncClient) -> Check:
    """A push without records is refused by whoever may push, before anything is written."""
    return await _probe(client, "permission", {"dataType": "user", "records": []})


async def _departments(client: httpx.AsyncClient) -> Check:
    return await _probe(client, "departments", {"dataType": "department", "records": []})


async def _probe(client: httpx.AsyncClient, name: str, body: dict[str, object]) -> Check:
    try:
        await call(client, "POST", "/userData:push", json=body)
    except WholeBatch:
        return _said(name, "ok", "nocobase.ok")
    except TooLarge:
        return _said(name, "failed", "nocobase.not_nocobase")
    except httpx.ReadTimeout:
        return _said(name, "failed", "nocobase.timeout")
    except ServiceError as refused:
        return Check(name, "failed", refused.message, refused.hint, refused.code, params=refused.params)
    return _said(name, "failed", "nocobase.not_nocobase")


async def _reading(client: httpx.AsyncClient) -> Check:
    try:
        for collection in ("users", "departments"):
            await call(client, "GET", f"/{collection}:list", params={"pageSize": "1", "fields": "id"})
    except (ServiceError, WholeBatch, TooLarge, httpx.ReadTimeout):
        return _said("reading", "warning", "nocobase.no_reading")
    return _said("reading", "ok", "nocobase.ok")


def _settings(config: NocoBaseConfig) -> list[Check]:
    url = urlsplit(config.url)
    plain = url.scheme == "http" and url.hostname not in LOCAL
    return [
        _said("encryption", "warning" if plain else "ok", "nocobase.plain_http" if plain else "nocobase.ok"),
        _said("leavers", "warning", "nocobase.leavers_sign_in")
        if config.leavers == "detach"
        else _said("leavers", "ok", "nocobase.ok"),
        _said("memberships", "warning", "nocobase.memberships_replaced"),
    ]


def _said(name: str, status: str, code: str) -> Check:
    text: Text = TEXTS[code]["en"]
    return Check(name, status, text.title, text.hint, None if code == "nocobase.ok" else code)  # type: ignore[arg-type]
