"""Draining the inbox: what waits → the objects that may be stale → reads → the same decisions as a full sync.

An event counts as done when its object was read after it came. If the read does not show yet what the event announced,
it is read again after 5 s, 30 s and 2 min, then taken as it is.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.directory import key_of, object_of
from app.core.ports import DepartmentRead, Range, UserRead
from app.errors import Refused, ServiceError
from app.store import inbox, runs
from app.store.changes import Origin, lock
from app.store.db import now
from app.store.directory import visible_departments, write
from app.store.inbox import PendingEvent
from app.sync.objects import Decision, Found, Wanted, decide, range_of, read_objects
from app.sync.withhold import withhold_excess
from app.sync.work import Work

AT_ONCE: Final = 200
AGAIN_AFTER: Final = (timedelta(seconds=5), timedelta(seconds=30), timedelta(minutes=2))
ESCALATE_EVERY: Final = timedelta(minutes=10)
IDS_ONLY_EVERY: Final = timedelta(minutes=1)

Object = tuple[str, str]


@dataclass(slots=True)
class Outcome:
    """How the events of one round end."""

    applied: list[PendingEvent] = field(default_factory=list)
    ignored: dict[str, list[PendingEvent]] = field(default_factory=dict)
    failed: dict[str, tuple[dict[str, object], list[PendingEvent]]] = field(default_factory=dict)
    postponed: dict[PendingEvent, datetime] = field(default_factory=dict)
    again: list[PendingEvent] = field(default_factory=list)


async def drain(work: Work) -> None:
    """Work off everything that is due. Raises TryLater or AskAdmin when the source cannot be read at all: the events
    then wait without having used up an attempt."""
    again: list[PendingEvent] = []
    while True:
        async with work.db.read() as conn:
            events = await inbox.due(conn, work.source.id, now())
        batch = _batch(await _read_now(work, events)) if events else []
        if not batch:
            return
        repeated = [event for event in batch if event in again]
        again = await _round(work, batch, final=bool(repeated))


async def _round(work: Work, batch: Sequence[PendingEvent], *, final: bool) -> list[PendingEvent]:
    wanted = await _wanted(work, batch)
    waiting = {obj for event in batch if _insists(event) for obj in _objects(event)}
    found = await read_objects(work, wanted, waiting=waiting)
    async with work.db.fenced(work.lease) as conn:
        await lock(conn, work.source.id)
        source = await work.sources.get(conn, work.source.id)
        at = now()
        decision = await decide(conn, source, found, at=at, renames=wanted.renames)
        allowed, withheld = await withhold_excess(conn, source, decision.changes, at=at)
        origin = Origin(events=_causes(batch))
        touched = {object_of(change) for change in withheld}
        marks = {key: mark for key, mark in decision.marks.items() if key not in touched}
        await write(conn, source.id, allowed, at=at, origin=origin, marks=marks)
        visible = await visible_departments(conn, source.id)
        outcome = _judge(batch, found, decision, touched, visible, at, final=final)
        await _mark(conn, outcome, at)
    return outcome.again


async def _read_now(work: Work, events: Sequence[PendingEvent]) -> Sequence[PendingEvent]:
    """The events that are not left to a full sync: one is, or is put, under way and answers the others more cheaply."""
    range_ = range_of(work.source)
    ids_only = range_ is not None and not range_.details  # then only a list of everybody answers anything
    imports = [event for event in events if ids_only or _moves_the_range(event, range_)]
    async with work.db.read() as conn:
        source = await work.sources.get(conn, work.source.id)
        places = len(await visible_departments(conn, source.id))
        active = await runs.active_full(conn, source.id)
        begun = active is not None and await runs.is_no_answer(conn, active)
    objects = {obj for event in events for obj in _objects(event)}
    many = ids_only or len(objects) > places + 4
    if active and many and (ids_only or not imports):
        return []
    every = IDS_ONLY_EVERY if ids_only else ESCALATE_EVERY
    rested = source.escalated_at is None or now() - source.escalated_at >= every
    if not rested and (ids_only or not imports):
        return [] if ids_only else events
    if not imports and not many:
        return events
    if not begun:
        async with work.db.fenced(work.lease) as conn:
            run_id = active or await _order(conn, work)
            await work.sources.record(conn, source.id, escalated_at=now())
            await inbox.mark_applied(conn, imports, at=now(), run_id=run_id, reason="full_sync")
    return [] if many else [event for event in events if event not in imports]


def _moves_the_range(event: PendingEvent, range_: Range | None) -> bool:
    """Whether only a full sync answers an event: an import, or departments that a tag brings into sight or takes."""
    used = range_ is not None and event.kind == "tag" and int(event.key) in range_.tags
    return event.kind == "everything" or (used and bool(event.expects.get("departments")))


async def _order(conn: AsyncConnection, work: Work) -> str:
    try:
        return (await runs.order(conn, work.source, trigger="event")).id
    except Refused as refused:  # somebody ordered one meanwhile
        return str(refused.extra["run_id"])


def _batch(events: Sequence[PendingEvent]) -> list[PendingEvent]:
    """As many events as name AT_ONCE distinct objects; all the events of an object together."""
    objects: set[Object] = set()
    for event in events:
        if len(objects) < AT_ONCE:
            objects.update(_objects(event))
    return [event for event in events if objects.issuperset(_objects(event))]


async def _wanted(work: Work, batch: Sequence[PendingEvent]) -> Wanted:
    wanted = Wanted()
    for event in batch:
        if event.kind == "user":
            wanted.add_users([event.key, event.new_key] if event.new_key else [event.key])
        if event.kind == "user" and event.new_key:
            wanted.renames[key_of(event.new_key)] = (key_of(event.key), event.arrived)
        if event.kind == "department":
            wanted.departments.add(int(event.key))
        if event.kind == "tag":
            await _want_tag(work, int(event.key), event.expects, wanted)
    return wanted


async def _want_tag(work: Work, tag_id: int, expects: Mapping[str, Any], wanted: Wanted) -> None:
    """A tag matters where it is part of the visible range: then whoever it holds, brings or takes is read again."""
    range_ = range_of(work.source)
    if range_ is None or tag_id not in range_.tags:
        return
    read = await work.reader.tag(tag_id)
    wanted.add_users([*read.userids, *expects.get("users", ())])


def _judge(
    batch: Sequence[PendingEvent],
    found: Found,
    decision: Decision,
    withheld: Collection[Object],
    visible: Collection[int],
    at: datetime,
    *,
    final: bool,
) -> Outcome:
    outcome = Outcome()
    for event in batch:
        objects = _objects(event)
        error = next((found.errors[obj] for obj in objects if obj in found.errors), None) or _bad(objects, found)
        last = event.attempts >= len(AGAIN_AFTER)
        if decision.again.intersection(objects) and not final:
            outcome.again.append(event)
        elif error and last:
            outcome.failed.setdefault(str(error), (error.record(), []))[1].append(event)
        elif error or (not last and not _shown(event, found, visible)):
            outcome.postponed[event] = at + AGAIN_AFTER[min(event.attempts, len(AGAIN_AFTER) - 1)]
        elif event.kind == "tag" or set(objects) & set(withheld) or not _out_of_sight(objects, found):
            outcome.applied.append(event)
        else:
            outcome.ignored.setdefault("out_of_range", []).append(event)
    return outcome


async def _mark(conn: AsyncConnection, outcome: Outcome, at: datetime) -> None:
    await inbox.mark_applied(conn, outcome.applied, at=at)
    for reason, events in outcome.ignored.items():
        await inbox.mark_ignored(conn, events, reason, at=at)
    for error, events in outcome.failed.values():
        await inbox.mark_failed(conn, events, error, at=at)
    await inbox.postpone(conn, outcome.postponed)


def _bad(objects: Collection[Object], found: Found) -> ServiceError | None:
    for kind, key in objects:
        read = _read(kind, key, found)
        if read and read.bad:
            return ServiceError("record.unusable", f"The record cannot be used: {read.bad.reason}")
    return None


def _shown(event: PendingEvent, found: Found, visible: Collection[int]) -> bool:
    """Whether the read shows what the event announced."""
    key = key_of(event.new_key or event.key) if event.kind == "user" else event.key
    read = _read(event.kind, key, found)
    if read is None:
        return True
    if isinstance(read, DepartmentRead):
        return _department_shown(event.expects, read)
    if event.new_key and (old := found.users.get(key_of(event.key))) and old.user:
        return False
    return _user_shown(event.expects, read, visible)


def _department_shown(expects: Mapping[str, Any], read: DepartmentRead) -> bool:
    if expects.get("absent"):
        return read.department is None
    if read.department is None:
        return not expects.get("present")
    return expects.get("parent_id") in (None, read.raw_parent_id)


def _user_shown(expects: Mapping[str, Any], read: UserRead, visible: Collection[int]) -> bool:
    if expects.get("absent"):
        return read.user is None
    if read.user is None:
        return not (expects.get("present") or expects.get("departments"))
    if expects.get("departments") is None or read.user.memberships is None:
        return True
    announced, shown = set(expects["departments"]), {seat.department_id for seat in read.user.memberships}
    return shown <= announced and announced & set(visible) <= shown


def _out_of_sight(objects: Collection[Object], found: Found) -> bool:
    """Whether an event told nothing that we may know: all its objects are unreadable and not proven gone."""
    for kind, key in objects:
        read = _read(kind, key, found)
        shown = read.user if isinstance(read, UserRead) else read and read.department
        gone = key in found.gone_users if kind == "user" else int(key) in found.gone_departments
        if shown or gone or (kind, key) in found.former:
            return False
    return True


def _read(kind: str, key: str, found: Found) -> UserRead | DepartmentRead | None:
    if kind == "user":
        return found.users.get(key)
    return found.departments.get(int(key)) if kind == "department" else None


def _insists(event: PendingEvent) -> bool:
    """Whether the event says that its object exists, and there is time left to see it appear."""
    exists = event.expects.get("present") or event.expects.get("departments") or event.new_key
    return bool(exists) and event.attempts < len(AGAIN_AFTER)


def _objects(event: PendingEvent) -> list[Object]:
    if event.kind == "user":
        keys = [event.key, event.new_key] if event.new_key else [event.key]
        return [("user", key_of(key)) for key in keys]
    return [] if event.kind in ("everything", "none") else [(event.kind, event.key)]


def _causes(batch: Sequence[PendingEvent]) -> dict[str, str]:
    return {f"{kind}:{key}": event.id for event in batch for kind, key in _objects(event)}
