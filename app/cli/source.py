"""`source …`: where directories come from."""

import getpass
import json as jsonlib
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic import ValidationError

from app.api.paging import Page
from app.api.problem import field_errors, invalid
from app.api.schemas.runs import run_out
from app.api.schemas.sources import CheckOut, ChecksOut, SourceNew, SourceOut, check_out, source_out
from app.api.source_config import kind_of, new_parts, shown
from app.cli.exits import Exit
from app.cli.screen import as_json, cell, language, say, table, tell
from app.cli.session import ACTOR, Session, find_source, in_session
from app.errors import FieldError
from app.sources.kinds import KINDS
from app.sources.wecom.check import CallbackFacts
from app.store import audit, pages
from app.store.db import now
from app.store.sources import Source
from app.sync.schedule import next_time, nightly

group = typer.Typer(help="Look at sources, add and check them.", no_args_is_help=True)

SourceName = Annotated[str, typer.Argument(help="Id or name of the source.", metavar="SOURCE")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
HOW_TO_GIVE: Final = "@FILE reads it from a file, - asks for it; given as it is, other users of the machine may see it."


@group.command("list")
def list_sources(json: Json = False) -> None:
    """List the sources."""

    async def work(session: Session) -> Exit:
        async with session.db.read() as conn:
            living = await session.sources.list(conn)
        found = [await _answer(session, source) for source in living]
        if json:
            as_json(Page[SourceOut](items=found, next_cursor=None))
        else:
            columns = ("id", "name", "kind", "enabled", "last run", "last event", "next run", "waits for approval")
            table(columns, [_row(source) for source in found])
        return Exit.OK

    in_session(work)


@group.command("show")
def show_source(source: SourceName, json: Json = False) -> None:
    """Show a source; of its secrets only whether they are set."""

    async def work(session: Session) -> Exit:
        found = await _answer(session, await find_source(session, source))
        if json:
            as_json(found)
        else:
            _tell(found)
        return Exit.OK

    in_session(work)


@group.command()
def add(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    corp_id: Annotated[str | None, typer.Option(help="企业ID of the company.")] = None,
    agent_id: Annotated[int | None, typer.Option(help="AgentId of the app; found by itself when left out.")] = None,
    app_secret: Annotated[str | None, typer.Option(help=f"Secret of the app. {HOW_TO_GIVE}")] = None,
    contacts_secret: Annotated[str | None, typer.Option(help="Secret of the contacts assistant, likewise.")] = None,
    token: Annotated[str | None, typer.Option(help="Token of the callback, likewise.")] = None,
    encoding_aes_key: Annotated[str | None, typer.Option(help="EncodingAESKey of the callback, likewise.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Address of a private WeCom.")] = None,
    proxy: Annotated[str | None, typer.Option(help="Proxy for calls to WeCom; @FILE and - as for secrets.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="A JSON file with the whole `config`, - for stdin; options win over it.")
    ] = None,
    kind: Annotated[str, typer.Option(help="Where the directory comes from.")] = "wecom",
    schedule: Annotated[
        str | None, typer.Option(help="Cron line of the full sync, or `never`; left out: once a night.")
    ] = None,
    timezone: Annotated[str, typer.Option(help="IANA time zone of the schedule.")] = "Asia/Shanghai",
    disabled: Annotated[bool, typer.Option("--disabled", help="Add it without starting anything.")] = False,
    json: Json = False,
) -> None:
    """Add a source. Credentials may come later; `source check` says what they can do."""
    secrets = {
        "app_secret": app_secret,
        "contacts_secret": contacts_secret,
        "token": token,
        "encoding_aes_key": encoding_aes_key,
        "proxy": proxy,
    }
    open_ = {"corp_id": corp_id, "agent_id": agent_id, "base_url": base_url}

    async def work(session: Session) -> Exit:
        given = _read_config(config) | {name: _secret(name, value) for name, value in secrets.items() if value}
        given |= {name: value for name, value in open_.items() if value is not None}
        wanted: dict[str, Any] = {"name": name, "kind": kind, "config": given, "enabled": not disabled}
        if schedule is not None:
            wanted["schedule"] = None if schedule == "never" else {"cron": schedule, "timezone": timezone}
        found = await _answer(session, await _created(session, wanted))
        if json:
            as_json(found)
        else:
            _tell(found)
            say(f"Next: wecom-sync source check {found.id}")
        return Exit.OK

    in_session(work)


@group.command()
def check(source: SourceName, json: Json = False) -> None:
    """Find out whether the credentials work, what they may see, and whether callbacks arrive. Exit code 5 if not."""

    async def work(session: Session) -> Exit:
        checks = await checked(session, await find_source(session, source))
        ok = all(each.status != "failed" for each in checks)
        if json:
            as_json(ChecksOut(ok=ok, checks=checks))
        else:
            tell_checks(checks)
        return Exit.OK if ok else Exit.REFUSED

    in_session(work)


async def checked(session: Session, source: Source) -> list[CheckOut]:
    """Every check of a source, in the language of the terminal."""
    kind = KINDS[source.kind]
    async with session.db.read() as conn:
        config = kind.config.model_validate(await session.sources.revealed(conn, source.id))
    facts = CallbackFacts(session.callback_url(source), source.verified_at, source.last_event_at)
    found = await kind.check(config, tokens=session.tokens, callback=facts)
    return [check_out(each, language()) for each in found]


def tell_checks(checks: list[CheckOut]) -> None:
    """The checks as a table, each with what to do about it."""
    signs = {"ok": "✓", "warning": "!", "failed": "✗", "skipped": "–"}
    words = [each.message + (f"\n→ {each.hint}" if each.hint and each.status != "ok" else "") for each in checks]
    rows = [(f"{signs[each.status]} {each.status}", each.name, text) for each, text in zip(checks, words, strict=True)]
    table(("", "check", "result"), rows)


async def _created(session: Session, wanted: dict[str, Any]) -> Source:
    try:
        body = SourceNew.model_validate(wanted)
    except ValidationError as error:
        raise invalid(field_errors(error.errors(), language())) from None
    kind = kind_of(body.kind, language())
    parts = new_parts(kind, body.config, language())
    schedule = body.schedule.model_dump() if body.schedule else None
    if "schedule" not in body.model_fields_set:
        schedule = nightly(parts.config["corp_id"])
    async with session.db.write() as conn:
        source = await session.sources.create(
            conn,
            name=body.name,
            kind=kind.name,
            config=parts.config,
            secrets=parts.secrets,
            enabled=body.enabled,
            schedule=schedule,
            guard={},
            next_run_at=next_time(schedule, now()) if schedule and body.enabled else None,
        )
        await audit.record(conn, ACTOR, "source.create", source.id)
    return source


async def _answer(session: Session, source: Source) -> SourceOut:
    """A source as the API shows it."""
    async with session.db.read() as conn:
        last = (await pages.last_runs(conn, [source.id])).get(source.id)
        proxy = (await session.sources.secrets(conn, source.id)).get("proxy")
    return source_out(
        source,
        config=shown(KINDS[source.kind], source.config, source.secrets_set, proxy),
        callback_url=session.callback_url(source),
        last_run=run_out(last, language()) if last else None,
    )


def _row(source: SourceOut) -> tuple[object, ...]:
    last = f"{source.last_run.state} {cell(source.last_run.created_at)}" if source.last_run else None
    event = source.callback.last_event_at
    return (source.id, source.name, source.kind, source.enabled, last, event, source.next_run_at, source.open_approval)


def _tell(source: SourceOut) -> None:
    last = f"{source.last_run.id} {source.last_run.state}" if source.last_run else None
    schedule = f"{source.schedule.cron} ({source.schedule.timezone})" if source.schedule else "only when asked for"
    facts: list[tuple[str, object]] = [
        ("id", source.id),
        ("name", source.name),
        ("kind", source.kind),
        ("enabled", source.enabled),
        *((name, "set" if value == {"set": True} else value) for name, value in source.config.items()),
        ("callback_url", source.callback_url),
        ("callback verified", source.callback.verified_at),
        ("last event", source.callback.last_event_at),
        ("schedule", schedule),
        ("next run", source.next_run_at),
        ("last run", last),
        ("waits for approval", source.open_approval),
    ]
    for name, value in facts:
        tell(f"{name + ':':<24} {cell(value)}")


def _read_config(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        given = jsonlib.loads(text)
    except OSError as error:
        raise invalid([FieldError("--config", f"{path} cannot be read ({error.strerror})")]) from None
    except ValueError:
        raise invalid([FieldError("--config", "is not JSON")]) from None
    if not isinstance(given, dict):
        raise invalid([FieldError("--config", "is not a JSON object")])
    return given


def _secret(name: str, given: str) -> str:
    """A secret from where the option says it is."""
    if given == "-":
        return getpass.getpass(f"{name}: ") if sys.stdin.isatty() else sys.stdin.readline().strip()
    if not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise invalid([FieldError(f"--{name.replace('_', '-')}", "the file cannot be read")]) from None
