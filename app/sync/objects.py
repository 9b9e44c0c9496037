"""Reading a few objects anew and deciding about them: what events, a scoped run and an approval share.

Reading comes first, without a transaction; deciding happens inside the transaction that writes.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.directory import Change, StoredUser, User, key_of
from app.core.fingerprint import department_hash, user_hash, withheld_hashes
from app.core.plan import (
    cut_cycles,
    parents_first,
    plan_department,
    plan_gone_department,
    plan_gone_user,
    plan_rename,
    plan_unseen_department,
    plan_unseen_user,
    plan_user,
)
from app.core.ports import DepartmentRead, Range, UserRead
from app.errors import AskAdmin, ServiceError, TryLater
from app.store.changes import born
from app.store.directory import (
    Mark,
    departed,
    members_of,
    parents_of,
    places_of,
    stored_departments,
    stored_users,
    visible_departments,
)
from app.store.sources import Source
from app.sync.work import Work, gather_bounded

Renames = Mapping[str, tuple[str, int]]

NOT_FOUND = 60111
"""WeCom: userid not found; also said of people outside the visible range (page 90313)."""


@dataclass(slots=True)
class Wanted:
    """The objects to be read: userids by their compared form, and department ids. `renames` maps a new
    key to the old one and the number of the event that said so."""

    users: dict[str, str] = field(default_factory=dict)
    departments: set[int] = field(default_factory=set)
    renames: dict[str, tuple[str, int]] = field(default_factory=dict)

    def add_users(self, userids: Iterable[str]) -> None:
        for userid in userids:
            self.users.setdefault(key_of(userid), userid)

    def __len__(self) -> int:
        return len(self.users) + len(self.departments)


@dataclass(slots=True)
class Found:
    """What the reads said. `gone_*` are proven, by the number of the read that began the proof; `former` are objects
    that could not be read and that we hold as gone already; `awaited` are those of which nothing is believed until they
    can be read; `errors` are reads that failed for one object only. All three by ("user" | "department", key)."""

    users: dict[str, UserRead] = field(default_factory=dict)
    departments: dict[int, DepartmentRead] = field(default_factory=dict)
    gone_users: dict[str, int] = field(default_factory=dict)
    gone_departments: dict[int, int] = field(default_factory=dict)
    former: set[tuple[str, str]] = field(default_factory=set)
    awaited: Collection[tuple[str, str]] = ()
    errors: dict[tuple[str, str], ServiceError] = field(default_factory=dict)
    range: Range | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The changes to make, in order; the marks to leave; what must be read again because a sweep came between."""

    changes: list[Change]
    marks: dict[tuple[str, str], Mark]
    again: set[tuple[str, str]]


async def read_objects(work: Work, wanted: Wanted, *, waiting: Collection[tuple[str, str]] = ()) -> Found:
    """Read the wanted objects, and prove the absence of those that we hold and that cannot be read.

    Nothing is proven about the objects in `waiting`, and nothing done to them: their events announced that they exist.
    """
    found = Found(range=range_of(work.source) or await work.reader.range(), awaited=waiting)
    await _read_departments(work, wanted.departments, found)
    await _prove_departments(work, wanted, found)
    answers, errors = await gather_bounded(
        wanted.users, lambda key: work.reader.user(wanted.users[key]), catch=(TryLater, AskAdmin)
    )
    found.users = answers
    _keep_errors(found, "user", errors, answered=bool(answers or found.departments))
    await _read_departments(work, await _unknown_places(work, found), found)
    await _prove_users(work, found)
    return found


async def decide(
    conn: AsyncConnection, source: Source, found: Found, *, at: datetime, renames: Renames | None = None
) -> Decision:
    """What the reads change. The caller holds the fence and the source's lock; `source` was read under them."""
    again: set[tuple[str, str]] = set()
    fresh = {number: read for number, read in found.departments.items() if read.observed > source.swept}
    again |= {("department", str(number)) for number in found.departments if number not in fresh}
    visible = await visible_departments(conn, source.id)
    seen = {number for number, read in fresh.items() if read.department}
    department_changes, marks, cut = await _decide_departments(conn, source, found, fresh, visible | seen, at)
    again |= {("department", str(number)) for number in cut}
    in_range = visible | seen | set(found.gone_departments)
    people = {key: read for key, read in found.users.items() if read.observed > source.swept}
    again |= {("user", key) for key in found.users if key not in people}
    user_changes, user_marks = await _decide_users(conn, source, found, people, renames or {}, in_range, at)
    removals = [change for change in department_changes if change.action == "remove"]
    others = [change for change in department_changes if change.action != "remove"]
    return Decision([*others, *user_changes, *reversed(removals)], marks | user_marks, again)


def range_of(source: Source) -> Range | None:
    """The visible range as the last sweep found it; None before the first."""
    if not source.range:
        return None
    lists = {name: tuple(source.range[name]) for name in ("departments", "users", "tags")}
    return Range(**{**source.range, **lists})


async def _read_departments(work: Work, numbers: Collection[int], found: Found) -> None:
    """Read the departments, upwards every parent that we have not seen yet, and what with them would be a cycle."""
    async with work.db.read() as conn:
        known = await visible_departments(conn, work.source.id)
        parents = await parents_of(conn, work.source.id)
    missing = set(numbers)
    while missing:
        answers, errors = await gather_bounded(missing, work.reader.department, catch=(TryLater, AskAdmin))
        found.departments |= answers
        _keep_errors(found, "department", {str(k): e for k, e in errors.items()}, answered=bool(answers))
        shown = {number: read for number, read in answers.items() if read.department}
        parents |= {number: (read.raw_parent_id or None, read.observed) for number, read in shown.items()}
        above = {read.raw_parent_id for read in shown.values() if read.raw_parent_id} - known
        failed = {int(key) for kind, key in found.errors if kind == "department"}
        missing = (above | cut_cycles(parents)) - set(found.departments) - failed


async def _unknown_places(work: Work, found: Found) -> set[int]:
    """Departments in which people turned up and that we have not seen yet."""
    seats = {number for read in found.users.values() if read.user for number in places_of(read.user) or ()}
    async with work.db.read() as conn:
        return seats - await visible_departments(conn, work.source.id) - set(found.departments)


async def _prove_departments(work: Work, wanted: Wanted, found: Found) -> None:
    unread = {n for n, read in found.departments.items() if not read.department and not read.bad}
    async with work.db.read() as conn:
        held = await stored_departments(conn, work.source.id, unread)
    found.former |= {("department", str(number)) for number, stored in held.items() if not stored.active}
    settled = found.former | set(found.awaited)
    candidates = {number for number in held if ("department", str(number)) not in settled}
    if not candidates or not found.range or not (found.range.everything or found.range.lists_ids):
        return
    observed, present = await work.reader.department_ids()
    if not found.range.lists_ids and not await _same_range(work, found.range):
        return
    found.gone_departments = {number: observed for number in candidates if number not in present}
    async with work.db.read() as conn:
        for number in found.gone_departments:
            wanted.add_users(await members_of(conn, work.source.id, number))


async def _prove_users(work: Work, found: Found) -> None:
    unread = {key: read for key, read in found.users.items() if not read.user and not read.bad}
    async with work.db.read() as conn:
        held = await stored_users(conn, work.source.id, unread)
    found.former |= {("user", key) for key, stored in held.items() if not stored.active}
    settled = found.former | set(found.awaited)
    candidates = {key: unread[key] for key in held if ("user", key) not in settled}
    if not candidates or not found.range:
        return
    if found.range.lists_ids:
        found.gone_users = await absent_from_two_passes(work, candidates)
    elif found.range.everything and await _same_range(work, found.range):
        found.gone_users = {key: read.observed for key, read in candidates.items() if read.errcode == NOT_FOUND}


async def _same_range(work: Work, range_: Range) -> bool:
    """Whether what could be seen at the last sweep can still be seen: else an absence proves nothing."""
    return (await work.reader.range()).fingerprint == range_.fingerprint


async def absent_from_two_passes(work: Work, candidates: Collection[str]) -> dict[str, int]:
    """Those candidates whom two complete passes of user/list_id, both begun now, do not hold, with a read number."""
    left, began = set(candidates), await work.db.observe()
    for _ in range(2):
        async for page in work.reader.ids():
            left -= {key_of(userid) for userid, _ in page.pairs}
    return dict.fromkeys(left, began)


def _keep_errors(found: Found, kind: str, errors: Mapping[str, Exception], *, answered: bool) -> None:
    """Errors of single objects are kept where others could be read; otherwise the source itself is in trouble."""
    for key, error in errors.items():
        if not answered or not isinstance(error, ServiceError):
            raise error
        found.errors[kind, key] = error


async def _decide_departments(
    conn: AsyncConnection,
    source: Source,
    found: Found,
    fresh: Mapping[int, DepartmentRead],
    visible: Collection[int],
    at: datetime,
) -> tuple[list[Change], dict[tuple[str, str], Mark], set[int]]:
    if not fresh and not found.gone_departments:
        return [], {}, set()
    desired = {
        number: replace(read.department, parent_id=read.raw_parent_id if read.raw_parent_id in visible else None)
        for number, read in fresh.items()
        if read.department
    }
    parents = await parents_of(conn, source.id)
    parents |= {number: (department.parent_id, fresh[number].observed) for number, department in desired.items()}
    cut = cut_cycles(parents)
    held = await stored_departments(conn, source.id, {*fresh, *found.gone_departments, *cut})
    desired |= {n: replace(desired[n] if n in desired else held[n].value, parent_id=None) for n in cut}
    changes: list[Change] = []
    marks: dict[tuple[str, str], Mark] = {}
    for department in parents_first(desired.values()):
        number = department.department_id
        observed = fresh[number].observed if number in fresh else held[number].observed + 1
        changes += plan_department(held.get(number), department, observed)
        if number not in cut:
            marks["department", str(number)] = Mark(observed, {"hash": department_hash(department)})
    for number, observed in found.gone_departments.items():
        if number in held:
            changes += plan_gone_department(held[number], observed)
    unseen = {n: read for n, read in fresh.items() if not read.department and not read.bad and n in held}
    for number, read in unseen.items():
        key = ("department", str(number))
        if number not in found.gone_departments and key not in found.awaited:
            changes += plan_unseen_department(held[number], read.observed, at)
        if key in found.former:  # no older list brings it back
            marks[key] = Mark(read.observed)
    return changes, marks, cut


async def _decide_users(
    conn: AsyncConnection,
    source: Source,
    found: Found,
    people: Mapping[str, UserRead],
    renames: Renames,
    in_range: Collection[int],
    at: datetime,
) -> tuple[list[Change], dict[tuple[str, str], Mark]]:
    held = await stored_users(conn, source.id, set(people))
    in_range = {*in_range, *await departed(conn, source.id, held.values())}
    readable, changes = frozenset(source.readable), list[Change]()
    marks: dict[tuple[str, str], Mark] = {}
    known_since = await born(conn, [held[new].id for new in renames if new in held])
    renamed = _renamed(renames, people, held, known_since)
    for key, read in people.items():
        if key in renamed.values():
            continue
        if read.user and key in renamed:
            old, new = held[renamed[key]], held.get(key)
            changes += plan_rename(old, new, read.user, read.observed, readable=readable, in_range=in_range)
        elif read.user:
            changes += plan_user(held.get(key), read.user, read.observed, readable=readable, in_range=in_range)
        elif key in found.gone_users and key in held:
            changes += plan_gone_user(held[key], found.gone_users[key])
        elif key in held and not read.bad and ("user", key) not in found.awaited:
            changes += plan_unseen_user(held[key], read.observed, at)
        if read.user:
            marks["user", key] = user_mark(read.user, read.observed, readable)
        elif ("user", key) in found.former:  # no older page brings him back
            marks["user", key] = Mark(read.observed)
    return changes, marks


def _renamed(
    renames: Renames, people: Mapping[str, UserRead], held: Mapping[str, StoredUser], known_since: Mapping[str, int]
) -> dict[str, str]:
    """New key → old key of the renames that hold: the new one can be read, the old one cannot, and the event is newer
    than the row that has the new one (a rename told again, of ids that others have since, is older)."""
    found = {}
    for new, (old, arrived) in renames.items():
        read = people.get(new)
        newer = new not in held or known_since.get(held[new].id, 0) < arrived
        if read and read.user and old in held and _vacant(people.get(old)) and newer:
            found[new] = old
    return found


def _vacant(read: UserRead | None) -> bool:
    return read is not None and read.user is None and read.bad is None


def user_mark(user: User, observed: int, readable: Collection[str]) -> Mark:
    """The hashes of a read user; those of unreadable fields stay as they are."""
    withheld = {n: h for n, h in withheld_hashes(user).items() if h is not None and n[5:] in readable}
    return Mark(observed, {"hash": user_hash(user), **withheld}, places_of(user))
