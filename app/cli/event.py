"""`event …`: the inbox of callbacks."""

import asyncio
from typing import Annotated

import typer

from app.api.paging import Page, decode, encode
from app.api.schemas.events import EventOut, EventState, event_out
from app.cli.exits import Exit
from app.cli.screen import as_json, complain_of, language, say, table, tell
from app.cli.session import ACTOR, Session, find_source, in_session
from app.cli.work import GLANCE_SECONDS, at_work_if_alone
from app.store import audit, inbox, pages
from app.store.db import now
from app.store.pages import Incoming

group = typer.Typer(help="Look at incoming events and replay them.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@group.command("list")
def list_events(
    source: Annotated[str | None, typer.Option(help="Only events of this source (id or name).")] = None,
    state: Annotated[EventState | None, typer.Option(help="Only events in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="`next_cursor` of the page before.")] = None,
    json: Json = False,
) -> None:
    """List incoming events, newest first."""

    async def work(session: Session) -> Exit:
        source_id = (await find_source(session, source)).id if source else None
        after = decode("events", cursor, str)
        async with session.db.read() as conn:
            found = await pages.list_events(conn, source_id=source_id, state=state, after=after, limit=limit)
        following = encode("events", found[limit - 1][0]) if len(found) > limit else None
        listed = [event for _, event in found[:limit]]
        if json:
            as_json(Page[EventOut](items=[event_out(e, language()) for e in listed], next_cursor=following))
        else:
            columns = ("id", "received", "type", "object", "state", "reason", "attempts")
            table(
                columns,
                [(e.id, e.received_at, e.change_type, _about(e), e.state, e.reason, e.attempts) for e in listed],
            )
        return Exit.OK

    in_session(work)


@group.command()
def replay(event: Annotated[str, typer.Argument(help="Id of the event.", metavar="EVENT")], json: Json = False) -> None:
    """Read the objects of an event again. Harmless: an older reading never overwrites a newer one."""

    async def work(session: Session) -> Exit:
        async with at_work_if_alone(session) as worker:
            async with session.db.write() as conn:
                await inbox.replay(conn, event)
                await audit.record(conn, ACTOR, "event.replay", event)
            found = await _read(session, event)
            if worker is not None:
                say("No service works on this database: doing it here.")
                worker.wake("events", found.source_id)
                found = await _settled(session, event)
        if json:
            as_json(event_out(found, language()))
        else:
            tell(f"Event {found.id}: {found.state}{f' ({found.reason})' if found.reason else ''}")
            if error := event_out(found, language()).error:
                complain_of(error.model_dump())
        return Exit.FAILED_OBJECTS if found.state == "failed" else Exit.OK

    in_session(work)


async def _settled(session: Session, event_id: str) -> Incoming:
    """The event once it is not pending any more, or is put off."""
    while True:
        found = await _read(session, event_id)
        put_off = found.next_attempt_at is not None and found.next_attempt_at > now()
        if found.state != "pending" or (put_off and found.attempts):
            return found
        await asyncio.sleep(GLANCE_SECONDS)


async def _read(session: Session, event_id: str) -> Incoming:
    async with session.db.read() as conn:
        return await pages.get_event(conn, event_id)


def _about(event: Incoming) -> str:
    return f"{event.kind} {event.key}" + (f" → {event.new_key}" if event.new_key else "")
