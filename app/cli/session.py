"""What every command begins with: the settings, the log, the keys, the open database."""

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import typer

from app import logs
from app.cli.exits import Exit
from app.cli.screen import say
from app.errors import FieldError, Refused
from app.settings import Settings, load
from app.store.db import Database, url_of
from app.store.keys import Keys, load_keys
from app.store.migrations import migrate
from app.store.sources import Source, Sources
from app.store.targets import Target, Targets
from app.store.tokens import Tokens

ACTOR: Final = "cli"
"""The name under which the audit knows what was done here."""


@dataclass(frozen=True, slots=True)
class Session:
    """The open parts of a command. `owner` is a name that no other living process has."""

    settings: Settings
    db: Database
    sources: Sources
    targets: Targets
    tokens: Tokens
    owner: str

    def callback_url(self, source: Source) -> str:
        return f"{self.settings.public_url}/callbacks/{source.callback_key}"


def read_settings(*, service: bool = False) -> Settings:
    """The settings, and the log as they want it. A command that is no `service` only logs warnings, unless debug is on:
    it tells on its own what it does. Raises SettingsError."""
    settings = load()
    quiet = not service and settings.log_level == "info"
    logs.configure("warning" if quiet else settings.log_level, settings.log_format)
    return settings


def in_session(work: Callable[[Session], Awaitable[Exit]]) -> None:
    """Do a command's work with everything open, and end the program with its exit code."""

    async def whole() -> Exit:
        async with opened(read_settings()) as session:
            return await work(session)

    raise typer.Exit(asyncio.run(whole()))


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Session]:
    """Open the database, migrated; the keys are made where there are none.

    Raises SettingsError, and TryLater when the database cannot be reached.
    """
    keys = load_keys(settings)
    tell_of_keys(keys)
    await migrate(url_of(settings))
    db = await Database.open(url_of(settings))
    try:
        owner = process_name()
        yield Session(settings, db, Sources(keys.sealer), Targets(keys.sealer), Tokens(db, keys.sealer, owner), owner)
    finally:
        await db.close()


def process_name(kind: str = ACTOR) -> str:
    """A name for this process that no other one has."""
    return f"{kind}@{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"


def tell_of_keys(keys: Keys, tell: Callable[[str], None] = say) -> None:
    """Where the files are that were made just now."""
    what = {keys.admin_token_file: "administrator's token", keys.encryption_keys_file: "encryption keys"}
    for path in keys.made:
        tell(f"Made the {what[path]}: {path.absolute()}")


async def find_source(session: Session, wanted: str) -> Source:
    """The source with this id or, if only one has it, this name. Raises Refused 404, or 422 when several have it."""
    async with session.db.read() as conn:
        living = await session.sources.list(conn)
    found = [source for source in living if source.id == wanted] or [s for s in living if s.name == wanted]
    if len(found) > 1:
        ids = ", ".join(source.id for source in found)
        raise _unusable(f"several sources have this name; give the id: {ids}")
    if not found:
        places = [FieldError("SOURCE", wanted)]
        raise Refused("source.not_found", "There is no such source.", status=404, errors=places)
    return found[0]


async def find_target(session: Session, wanted: str) -> Target:
    """The target with this id or, if only one has it, this name. Raises Refused 404, or 422 when several have it."""
    async with session.db.read() as conn:
        living = await session.targets.list(conn)
    found = [target for target in living if target.id == wanted] or [t for t in living if t.name == wanted]
    if len(found) > 1:
        ids = ", ".join(target.id for target in found)
        raise _unusable(f"several targets have this name; give the id: {ids}")
    if not found:
        raise Refused("target.not_found", "There is no such target.", status=404, errors=[FieldError("TARGET", wanted)])
    return found[0]


async def only_source(session: Session, wanted: str | None) -> Source:
    """The source that was named, or the only one there is."""
    if wanted is not None:
        return await find_source(session, wanted)
    async with session.db.read() as conn:
        living = await session.sources.list(conn)
    if len(living) == 1:
        return living[0]
    names = ", ".join(source.name for source in living)
    raise _unusable(f"name one of: {names}" if living else "there is no source yet")


def _unusable(problem: str) -> Refused:
    return Refused("request.invalid", problem, status=422, errors=[FieldError("SOURCE", problem)])
