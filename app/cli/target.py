"""`target …`: where the directory is brought to."""

from typing import Annotated

import typer

from app.api.paging import Page
from app.api.schemas.runs import run_out
from app.api.schemas.sources import ChecksOut, check_out
from app.api.schemas.targets import TargetOut, target_out
from app.api.source_config import shown
from app.cli.exits import Exit, of_run
from app.cli.screen import as_json, language, say, table
from app.cli.session import ACTOR, Session, find_target, in_session
from app.cli.source import tell_checks
from app.cli.sync import show
from app.cli.work import at_work_if_alone, followed
from app.store import audit, deliveries, runs
from app.store.targets import Target
from app.sync import outlets
from app.targets.kinds import KINDS

group = typer.Typer(help="Look at targets, check them, bring them up to date.", no_args_is_help=True)

TargetName = Annotated[str, typer.Argument(help="Id or name of the target.", metavar="TARGET")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@group.command("list")
def list_targets(json: Json = False) -> None:
    """List the targets and how they are."""

    async def work(session: Session) -> Exit:
        async with session.db.read() as conn:
            living = await session.targets.list(conn)
        found = [await _answer(session, target) for target in living]
        if json:
            as_json(Page[TargetOut](items=found, next_cursor=None))
        else:
            columns = ("id", "name", "kind", "source", "state", "backlog", "last delivered", "waits for approval")
            rows = [(t.id, t.name, t.kind, t.source_id, t.state, t.backlog) for t in found]
            table(columns, [(*r, t.last_delivered_at, t.open_approval) for r, t in zip(rows, found, strict=True)])
        return Exit.OK

    in_session(work)


@group.command()
def check(target: TargetName, json: Json = False) -> None:
    """Check whether a target can be reached and written to. A webhook is sent a test event; nothing else is written."""

    async def work(session: Session) -> Exit:
        found = await find_target(session, target)
        allowed = session.settings.webhook_allowed
        made = await outlets.check(session.db, session.sources, session.targets, found, allowed)
        checks = [check_out(each, language()) for each in made]
        ok = all(each.status != "failed" for each in checks)
        if json:
            as_json(ChecksOut(ok=ok, checks=checks))
        else:
            tell_checks(checks)
        return Exit.OK if ok else Exit.REFUSED

    in_session(work)


@group.command()
def resync(
    target: TargetName,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Compare and plan, send nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow it to its end.")] = True,
    json: Json = False,
) -> None:
    """Bring a target to the whole directory: what it has acknowledged is not sent again."""

    async def work(session: Session) -> Exit:
        found = await find_target(session, target)
        async with at_work_if_alone(session) as worker:
            async with session.db.write() as conn:
                run = await runs.order_resync(conn, found.id, found.source_id, trigger="cli", dry_run=dry_run)
                await audit.record(conn, ACTOR, "target.resync", found.id, dry_run=dry_run)
            if wait or worker is not None:
                run = await followed(session, run, worker)
        if json:
            as_json(run_out(run, language()))
        elif wait or worker is not None:
            await show(session, run)
        else:
            say(f"Run {run.id} is queued.")
        return of_run(run)

    in_session(work)


async def _answer(session: Session, target: Target) -> TargetOut:
    async with session.db.read() as conn:
        backlog = await deliveries.backlog(conn, target)
    config = shown(KINDS[target.kind], target.config, target.secrets_set)
    return target_out(target, config=config, backlog=backlog, language=language())
