"""A run and its plan in words."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.schemas.runs import PlanState, run_out
from app.cli.screen import cell, complain_of, language, plain, say, short, table, tell
from app.store import pages
from app.store.pages import Planned
from app.store.plans import OUTCOMES
from app.store.runs import Run

KINDS: Final = ("department", "user", "membership")
STATES: Final[tuple[PlanState, ...]] = ("failed", "withheld", "planned", "applied")
SIGNS: Final = {"create": "+", "reactivate": "+", "update": "~", "rename": "~", "unmanage": "?"}
STYLES: Final = {"+": "green", "~": "yellow", "-": "red", "?": "dim"}


def tell_run(run: Run) -> None:
    """How a run stands: its state and the counts on stdout, what went wrong on stderr."""
    shown = run_out(run, language())
    dry = " (dry run: nothing was changed)" if run.dry_run else ""
    tell(f"Run {run.id}: {run.state.replace('_', ' ')}{dry}{_took(run)}")
    if run.state not in ("queued", "running"):
        _tell_counts(run.counts)
    for warning in shown.warnings:
        say(f"Warning: {warning.message} [{warning.code}]")
    if shown.error:
        complain_of(shown.error.model_dump())


async def tell_changes(conn: AsyncConnection, run: Run, most: int, states: Sequence[PlanState] = STATES) -> None:
    """What a run changed or would change, with the values before and after: first what failed and what is withheld, at
    most `most` changes of each kind of object in each state."""
    for state in states:
        for kind in KINDS:
            found = await pages.list_planned(conn, run.id, kind=kind, state=state, after=None, limit=most)
            for _, change in found[:most]:
                tell(_line(change))
            if len(found) > most:
                tell(f"  … and more {kind}s that are {state}: wecom-sync run show {run.id} --changes 500")


def tell_digest(run: Run) -> None:
    """What to type to decide on this run, where a decision is possible."""
    carried_out = run.dry_run and run.state in ("succeeded", "partial")
    if not run.digest or not (carried_out or run.state == "awaiting_approval"):
        return
    tell(f"Digest: {run.digest}")
    say(f"To carry it out:  wecom-sync run approve {run.id} --digest {run.digest}")
    if run.state == "awaiting_approval":
        say(f"To refuse it:     wecom-sync run reject {run.id}")


def _took(run: Run) -> str:
    if not (run.started_at and run.finished_at):
        return ""
    seconds = (run.finished_at - run.started_at).total_seconds()
    return f", {seconds:.1f} s, {run.api_calls} calls"


def _tell_counts(counts: Mapping[str, Mapping[str, int]]) -> None:
    names = [name for name in OUTCOMES if name == "unchanged" or any(each.get(name) for each in counts.values())]
    rows = [(kind, *(each.get(name, 0) for name in names)) for kind, each in counts.items()]
    table(("", *names), rows)


def _line(change: Planned) -> Text:
    sign = SIGNS.get(change.action, "-")
    words = [f"{sign} {change.kind} {plain(change.key)}"]
    name = change.after.get("name") or change.before.get("name")
    if name and change.action != "update":
        words.append(cell(name))
    if change.previous_key:
        words.append(f"(was {plain(change.previous_key)})")
    if change.action not in ("create", "update", "remove"):
        words.append(change.action)
    if change.action in ("update", "rename", "reactivate"):
        words.append(_differences(change.before, change.after))
    elif change.action == "create" and change.kind == "membership":
        seat = {name: value for name, value in change.after.items() if name != "department_id"}
        words.append(", ".join(f"{field}: {short(value)}" for field, value in seat.items()))
    if change.state in ("withheld", "failed"):
        words.append(f"[{change.state}{f': {plain(change.reason)}' if change.reason else ''}]")
    return Text(" ".join(word for word in words if word), style=STYLES[sign])


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{field}: {short(before.get(field))} → {short(value)}"
        for field, value in after.items()
        if field != "active"  # the action says so
    )
