"""A run over a few named objects: read, plan, ask the guard, apply; also what carries out approved events."""

from collections.abc import Collection

from app.core.directory import Change, object_of
from app.core.guard import destroyed, digest
from app.store import plans, runs
from app.store.changes import Origin, lock
from app.store.db import now
from app.store.directory import unmanaged_counts, write
from app.store.runs import Run
from app.sync.objects import Found, Wanted, decide, read_objects
from app.sync.withhold import split
from app.sync.work import Work


async def sync_scope(work: Work, run: Run) -> None:
    """Carry out a run of kind `scope`, or an approved run of kind `events`. Raises ServiceError when it cannot."""
    before = work.reader.calls
    wanted = await _wanted(work, run)
    await _tell(work, run, stage="users", total=len(wanted))
    found = await read_objects(work, wanted)
    if found.errors:
        raise next(iter(found.errors.values()))
    async with work.db.fenced(work.lease) as conn:
        await lock(conn, work.source.id)
        source, at = await work.sources.get(conn, work.source.id), now()
        decision = await decide(conn, source, found, at=at)
        within = run.approved and _marks(decision.changes) <= _ceiling(run)
        pair = (decision.changes, []) if within else await split(conn, source, decision.changes, at=at)
        allowed, withheld = (decision.changes, []) if run.dry_run else pair
        await plans.discard(conn, run.id)
        await plans.add(conn, run.id, allowed, plans.PEOPLE, state="planned" if run.dry_run else "applied")
        await plans.add(conn, run.id, withheld, plans.PEOPLE, state="withheld")
        for key, read in found.users.items():
            if read.bad:
                await plans.fail(conn, run.id, "user", key, read.bad.reason)
        if not run.dry_run:
            held_back = {object_of(change) for change in withheld}
            marks = {key: mark for key, mark in decision.marks.items() if key not in held_back}
            origin = Origin(run_id=run.id, approved=within)
            await write(conn, source.id, allowed, at=at, origin=origin, marks=marks)
        state = "awaiting_approval" if withheld else "partial" if _any_bad(found) else "succeeded"
        if withheld:
            await runs.open_approval(conn, source.id, run.id)
        counts = await plans.counts(conn, run.id, _seen(found), await unmanaged_counts(conn, source.id))
        value = digest(_marks(withheld or decision.changes if run.dry_run else withheld))
        ended = None if withheld else at
        calls = run.api_calls + work.reader.calls - before
        await runs.save(
            conn, run.id, state=state, counts=counts, digest=value, finished_at=ended, api_calls=calls, done=len(wanted)
        )


async def _wanted(work: Work, run: Run) -> Wanted:
    wanted = Wanted()
    if run.scope:
        wanted.add_users(run.scope.get("userids") or ())
        wanted.departments |= set(run.scope.get("department_ids") or ())
        for number in sorted(wanted.departments):
            page = await work.reader.department_members(number)
            wanted.add_users(user.userid for user in page.users)
        return wanted
    async with work.db.read() as conn:
        for kind, key in await plans.withheld_objects(conn, run.id):
            if kind == "department":
                wanted.departments.add(int(key))
            else:
                wanted.add_users([key.rpartition(":")[0] if kind == "membership" else key])
    return wanted


async def _tell(work: Work, run: Run, *, stage: str, total: int) -> None:
    async with work.db.fenced(work.lease) as conn:
        await runs.save(conn, run.id, stage=stage, done=0, total=total)


def _marks(changes: Collection[Change]) -> set[tuple[str, str, str]]:
    return {mark for change in changes for mark in destroyed(change)}


def _ceiling(run: Run) -> set[tuple[str, str, str]]:
    return {(mark[0], mark[1], mark[2]) for mark in (run.approval or {}).get("ceiling", ())}


def _any_bad(found: Found) -> bool:
    return any(read.bad for read in found.users.values()) or any(read.bad for read in found.departments.values())


def _seen(found: Found) -> dict[str, int]:
    users = sum(1 for read in found.users.values() if read.user)
    return {"users": users, "departments": sum(1 for read in found.departments.values() if read.department)}
