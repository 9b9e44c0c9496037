"""`sync`: order a run, and see it through."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from app.api.schemas.runs import PlanState, run_out
from app.cli.exits import Exit, of_run
from app.cli.report import STATES, tell_changes, tell_digest, tell_run
from app.cli.screen import as_json, language, say, tell
from app.cli.session import ACTOR, Session, find_source, in_session
from app.cli.work import at_work_if_alone, followed
from app.errors import Refused
from app.store import audit, runs
from app.store.runs import Run
from app.store.sources import Source
from app.sync.tasks import Worker

MOST_CHANGES = 20


def sync(
    source: Annotated[str, typer.Argument(help="Id or name of the source.", metavar="SOURCE")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Plan everything, change nothing; shows the plan.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run to its end and show what it did.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the run as JSON.")] = False,
    user: Annotated[list[str] | None, typer.Option(help="Only this userid; may be repeated.")] = None,
    department: Annotated[list[int] | None, typer.Option(help="Only this department; may be repeated.")] = None,
) -> None:
    """Bring the directory up to date.

    Everything is read, or what --user and --department name. The service carries the run out; where none is
    running, it is done here. Exit codes: 0 done, 3 some objects failed, 4 stopped by the guard, 5 WeCom refused, 6
    already running.
    """
    scope = {"userids": user or [], "department_ids": department or []} if user or department else None

    async def work(session: Session) -> Exit:
        return await _sync(session, source, dry_run=dry_run, wait=wait or dry_run, json=json, scope=scope)

    in_session(work)


async def _sync(
    session: Session, wanted: str, *, dry_run: bool, wait: bool, json: bool, scope: dict[str, Any] | None
) -> Exit:
    source = await find_source(session, wanted)
    async with at_work_if_alone(session) as worker:
        run = await _ordered(session, source, worker, dry_run=dry_run, scope=scope)
        if worker is not None or wait:
            run = await followed(session, run, worker)
    if json:
        as_json(run_out(run, language()))
    elif run.state == "queued":
        tell(run.id)
        say(f"The run is queued; follow it with: wecom-sync run show {run.id}")
    else:
        await show(session, run, states=STATES if run.dry_run else ("failed", "withheld"))
    return of_run(run)


async def show(
    session: Session, run: Run, *, changes: int = MOST_CHANGES, states: Sequence[PlanState] = STATES
) -> None:
    """A run, that many of its changes of each kind in these states, and how to decide on it."""
    tell_run(run)
    if changes:
        async with session.db.read() as conn:
            await tell_changes(conn, run, changes, states)
    tell_digest(run)


async def _ordered(
    session: Session, source: Source, worker: Worker | None, *, dry_run: bool, scope: dict[str, Any] | None
) -> Run:
    """A new run; or one that was left unfinished by a process that is gone, if it does the same."""
    try:
        return await _order(session, source, dry_run=dry_run, scope=scope)
    except Refused as refused:
        if refused.code != "run.already_active" or worker is None:
            raise
        left = str(refused.extra["run_id"])
    async with session.db.read() as conn:
        run = await runs.get(conn, left)
    say(f"Run {run.id} was left unfinished: carrying it on.")
    if run.dry_run == dry_run:
        return run
    await followed(session, run, worker)
    return await _order(session, source, dry_run=dry_run, scope=scope)


async def _order(session: Session, source: Source, *, dry_run: bool, scope: dict[str, Any] | None) -> Run:
    kind = "scope" if scope else "full"
    async with session.db.write() as conn:
        run = await runs.order(conn, source, kind=kind, trigger="cli", dry_run=dry_run, scope=scope)
        await audit.record(conn, ACTOR, "run.start", run.id, kind=kind, dry_run=dry_run)
    return run
