"""`doctor`: what is wrong with this installation, and what to do about it."""

import asyncio
import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import typer
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.schemas.sources import CheckOut, ChecksOut
from app.cli.exits import Exit
from app.cli.screen import as_json, say
from app.cli.session import Session, process_name, read_settings, tell_of_keys
from app.cli.source import checked, tell_checks
from app.cli.work import ALIVE_WITHIN
from app.errors import ServiceError
from app.settings import Settings
from app.store.db import Database, now, url_of
from app.store.keys import load_keys
from app.store.migrations import schema_state
from app.store.sources import Sources
from app.store.targets import Targets
from app.store.tokens import Tokens
from app.store.workers import last_beat

MOST_SKEW: Final = timedelta(seconds=5)

Status = Literal["ok", "warning", "failed"]


def doctor(json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False) -> None:
    """Find out what is wrong.

    Checks the settings, the database, the worker, the clock, the public address and every source; changes nothing.
    Exit code 5 when a check of a source failed, 1 when another one did.
    """
    settings = read_settings()
    own, of_sources = asyncio.run(_examined(settings))
    checks = [*own, *of_sources]
    if json:
        as_json(ChecksOut(ok=not _failed(checks), checks=checks))
    else:
        tell_checks(checks)
    raise typer.Exit(Exit.REFUSED if _failed(of_sources) else Exit.UNEXPECTED if _failed(own) else Exit.OK)


async def _examined(settings: Settings) -> tuple[list[CheckOut], list[CheckOut]]:
    """The checks of the installation, and those of its sources."""
    told = "given by the environment" if settings.database_url else "the defaults"
    own = [_check("settings", "ok", f"readable; data in {settings.data_dir.absolute()}, database: {told}")]
    own.append(_public_url(settings.public_url))
    if _is_missing(url_of(settings)):
        return [*own, _check("database", "warning", "there is none yet", "The first `wecom-sync serve` makes it.")], []
    try:
        db = await Database.open(url_of(settings))
    except ServiceError as error:
        hint = "Is the server running, and is WECOM_SYNC_DATABASE_URL right?"
        return [*own, _check("database", "failed", f"cannot be used: {error.message}", hint)], []
    try:
        own.append(_check("database", "ok", f"{db.dialect} answers"))
        async with db.read() as conn:
            schema = _schema(await schema_state(conn))
            own.append(schema)
            own.append(await _clock(conn, db.dialect))
            if schema.status == "failed":
                return own, []
            own.append(_worker(await last_beat(conn)))
        return own, await _sources(settings, db)
    finally:
        await db.close()


async def _sources(settings: Settings, db: Database) -> list[CheckOut]:
    keys = load_keys(settings)
    tell_of_keys(keys)
    owner = process_name("doctor")
    session = Session(settings, db, Sources(keys.sealer), Targets(keys.sealer), Tokens(db, keys.sealer, owner), owner)
    try:
        async with db.read() as conn:
            living = await session.sources.list(conn)
        found: list[CheckOut] = []
        for source in living:
            say(f"Checking {source.name} …")
            checks = await checked(session, source)
            found += [each.model_copy(update={"name": f"{source.name}: {each.name}"}) for each in checks]
    except ServiceError as error:
        return [_check("sources", "failed", error.message, error.hint)]
    return found or [_check("sources", "warning", "there is no source yet", "Add one: wecom-sync source add --help")]


def _is_missing(url: str) -> bool:
    """Whether this is a SQLite database that has not been made yet: opening it would make it."""
    address = make_url(url)
    return address.get_backend_name() == "sqlite" and not Path(address.database or "").exists()


def _check(name: str, status: Status, message: str, hint: str = "") -> CheckOut:
    return CheckOut(name=name, status=status, message=message, hint=hint, code=None, data={})


def _failed(checks: list[CheckOut]) -> bool:
    return any(check.status == "failed" for check in checks)


def _public_url(url: str) -> CheckOut:
    host = urlsplit(url).hostname or ""
    try:
        inner = not ipaddress.ip_address(host).is_global
    except ValueError:
        inner = "." not in host
    if inner:
        hint = "Set WECOM_SYNC_PUBLIC_URL to the address at which the internet reaches this service."
        return _check("public_url", "warning", f"{url} is out of WeCom's reach: no callback can arrive", hint)
    if not url.startswith("https://"):
        return _check("public_url", "warning", f"{url} is not https", "Put a web server with TLS in front.")
    return _check("public_url", "ok", url)


def _schema(state: Literal["current", "behind", "newer"]) -> CheckOut:
    if state == "behind":
        return _check("schema", "failed", "older than this program", "Run: wecom-sync migrate")
    return _check("schema", "ok", "current" if state == "current" else "newer than this program, which still works")


def _worker(beat: datetime | None) -> CheckOut:
    if beat is not None and now() - beat < ALIVE_WITHIN:
        return _check("worker", "ok", f"at work, last heard of {(now() - beat).total_seconds():.0f} s ago")
    last = f"last heard of at {beat.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if beat else "never heard of"
    hint = "Start `wecom-sync serve`, or `wecom-sync worker` where it runs with WECOM_SYNC_WORKER=none."
    return _check("worker", "warning", f"nobody works off events and runs; {last}", hint)


async def _clock(conn: AsyncConnection, dialect: str) -> CheckOut:
    if dialect == "sqlite":
        return _check("clock", "ok", f"{now():%Y-%m-%d %H:%M:%S} UTC")
    theirs: datetime = (await conn.execute(text("SELECT clock_timestamp()"))).scalar_one()
    skew = abs(now() - theirs)
    if skew > MOST_SKEW:
        hint = "Run a time service (NTP) on both hosts."
        return _check("clock", "warning", f"differs from the database's by {skew.total_seconds():.0f} s", hint)
    return _check("clock", "ok", f"{now():%Y-%m-%d %H:%M:%S} UTC, agrees with the database's")
