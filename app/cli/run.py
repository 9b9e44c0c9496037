"""`run …`: looking at runs and deciding on them."""

import sys
from typing import Annotated

import typer

from app.api.paging import Page, decode, encode
from app.api.schemas.runs import PlannedOut, RunOut, State, run_out
from app.cli.exits import Exit, of_run
from app.cli.report import tell_changes
from app.cli.screen import as_json, language, say, table
from app.cli.session import ACTOR, Session, find_source, in_session
from app.cli.sync import MOST_CHANGES, show
from app.cli.work import at_work_if_alone, followed
from app.errors import Refused
from app.store import audit, pages, runs
from app.store.runs import Run

group = typer.Typer(help="Look at runs, approve, reject and cancel them.", no_args_is_help=True)

RunId = Annotated[str, typer.Argument(help="Id of the run.", metavar="RUN")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Digest = Annotated[str | None, typer.Option(help="The digest that was looked at.")]
Reason = Annotated[str | None, typer.Option(help="Kept with the run.")]
Wait = Annotated[bool, typer.Option("--wait", help="Follow the run to its end.")]


@group.command("list")
def list_runs(
    source: Annotated[str | None, typer.Option(help="Only runs of this source (id or name).")] = None,
    state: Annotated[State | None, typer.Option(help="Only runs in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="`next_cursor` of the page before.")] = None,
    json: Json = False,
) -> None:
    """List runs, newest first."""

    async def work(session: Session) -> Exit:
        source_id = (await find_source(session, source)).id if source else None
        after = decode("runs", cursor, str)
        async with session.db.read() as conn:
            found = await pages.list_runs(conn, source_id=source_id, state=state, after=after, limit=limit)
        following = encode("runs", found[limit - 1][0]) if len(found) > limit else None
        listed = [run for _, run in found[:limit]]
        if json:
            as_json(Page[RunOut](items=[run_out(run, language()) for run in listed], next_cursor=following))
        else:
            columns = ("id", "source", "kind", "trigger", "state", "started", "finished")
            table(
                columns,
                [(r.id, r.source_id, _kind(r), r.trigger, r.state, r.started_at, r.finished_at) for r in listed],
            )
        return Exit.OK

    in_session(work)


@group.command("show")
def show_run(
    run: RunId,
    changes: Annotated[
        int | None, typer.Option(min=0, max=500, help="At most so many changes of each kind of object.")
    ] = None,
    json: Json = False,
) -> None:
    """Show a run, what it changed, or what it would change. With --json and --changes the changes are in `changes`."""

    async def work(session: Session) -> Exit:
        found = await _read(session, run)
        if not json:
            await show(session, found, changes=MOST_CHANGES if changes is None else changes)
            return Exit.OK
        shown = run_out(found, language()).model_dump(mode="json")
        if changes is not None:
            async with session.db.read() as conn:
                planned = await pages.list_planned(conn, run, after=None, limit=changes)
            shown["changes"] = [PlannedOut.of(change).model_dump(mode="json") for _, change in planned[:changes]]
        as_json(shown)
        return Exit.OK

    in_session(work)


@group.command()
def approve(
    run: RunId,
    digest: Digest = None,
    yes: Annotated[bool, typer.Option("--yes", help="Approve the plan as it is now, without asking.")] = False,
    reason: Reason = None,
    wait: Wait = False,
    json: Json = False,
) -> None:
    """Allow what a run withheld, or carry a dry run out.

    What is approved is named by its digest (`run show`); without --digest the plan is shown and you are asked. It is a
    ceiling: the run plans anew, and asks again if more would be lost.
    """

    async def work(session: Session) -> Exit:
        present = await _read(session, run)
        agreed = digest or await _confirmed(session, present, yes=yes)
        async with at_work_if_alone(session) as worker:
            async with session.db.write() as conn:
                approved = await runs.approve(conn, run, agreed, reason, ACTOR)
                await audit.record(conn, ACTOR, "run.approve", run, digest=agreed)
            if worker is not None or wait:
                approved = await followed(session, approved, worker)
        return await _end(session, approved, json=json)

    in_session(work)


@group.command()
def reject(run: RunId, digest: Digest = None, reason: Reason = None, json: Json = False) -> None:
    """Refuse what a run withheld; what it did not withhold stays applied."""

    async def work(session: Session) -> Exit:
        present = await _read(session, run)
        async with session.db.write() as conn:
            rejected = await runs.reject(conn, run, digest or present.digest or "", reason, ACTOR)
            await audit.record(conn, ACTOR, "run.reject", run, digest=rejected.digest)
        await _end(session, rejected, json=json)
        return Exit.OK

    in_session(work)


@group.command()
def cancel(run: RunId, json: Json = False) -> None:
    """Stop a run between two pages or batches; what it has applied stays."""

    async def work(session: Session) -> Exit:
        async with at_work_if_alone(session) as worker:
            async with session.db.write() as conn:
                cancelled = await runs.cancel(conn, run)
                await audit.record(conn, ACTOR, "run.cancel", run)
            if cancelled.state == "running":
                cancelled = await followed(session, cancelled, worker)
        await _end(session, cancelled, json=json)
        return Exit.OK

    in_session(work)


async def _confirmed(session: Session, run: Run, *, yes: bool) -> str:
    """The digest of the plan that a person has just agreed to."""
    if run.digest is None:
        raise Refused("run.not_awaiting_approval", "The run is not awaiting approval.")
    if yes:
        return run.digest
    if not sys.stdin.isatty():
        raise typer.BadParameter("say what is approved: --digest DIGEST (from `run show`), or --yes")
    async with session.db.read() as conn:
        await tell_changes(conn, run, MOST_CHANGES)
    typer.confirm(f"Approve this plan ({run.digest[:12]}…)?", abort=True, err=True)
    return run.digest


async def _end(session: Session, run: Run, *, json: bool) -> Exit:
    if json:
        as_json(run_out(run, language()))
    else:
        await show(session, run, states=("failed", "withheld"))
        if run.state == "queued":
            say(f"Follow it with: wecom-sync run show {run.id}")
    return of_run(run)


async def _read(session: Session, run_id: str) -> Run:
    async with session.db.read() as conn:
        return await runs.get(conn, run_id)


def _kind(run: Run) -> str:
    return f"{run.kind} (dry)" if run.dry_run else run.kind
