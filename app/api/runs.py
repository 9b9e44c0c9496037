"""Runs: reading them, deciding on them, following them."""

import asyncio
from collections.abc import AsyncIterable
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.exceptions import HTTPException

from app.api.deps import ADMIN, LanguageDep, Service, ServiceDep
from app.api.openapi import problems
from app.api.paging import Cursor, Limit, Page, decode, paged
from app.api.schemas.fields import Text
from app.api.schemas.runs import (
    SETTLED,
    Action,
    Decision,
    ObjectKind,
    PlannedOut,
    PlanState,
    ProgressOut,
    RunOut,
    State,
    Trigger,
    run_out,
)
from app.errors import Refused
from app.store import audit, pages, runs
from app.store.runs import Run
from app.store.sources import Source

router = APIRouter(prefix="/runs", tags=["Runs"])

NOT_FOUND = "run.not_found"
GLANCE_SECONDS = 0.3
"""How often a stream looks at the row of its run."""

SourceFilter = Annotated[Text | None, Query(max_length=64, description="Of this source only.")]


@router.get("", summary="List runs", responses=problems({400: "cursor.invalid"}))
async def list_runs(
    service: ServiceDep,
    language: LanguageDep,
    request: Request,
    response: Response,
    source_id: SourceFilter = None,
    state: State | None = None,
    trigger: Trigger | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[RunOut]:
    """Newest first."""
    after = decode("runs", cursor, str)
    async with service.db.read() as conn:
        found = await pages.list_runs(conn, source_id=source_id, state=state, trigger=trigger, after=after, limit=limit)
    return paged(request, response, "runs", [(key, run_out(run, language)) for key, run in found], limit)


@router.get("/{run_id}", summary="Read a run", responses=problems({404: NOT_FOUND}))
async def get_run(run_id: str, service: ServiceDep, language: LanguageDep) -> RunOut:
    async with service.db.read() as conn:
        return run_out(await runs.get(conn, run_id), language)


@router.get(
    "/{run_id}/changes",
    summary="List the changes of a run",
    responses=problems({400: "cursor.invalid", 404: NOT_FOUND}),
)
async def list_run_changes(
    run_id: str,
    service: ServiceDep,
    request: Request,
    response: Response,
    kind: ObjectKind | None = None,
    action: Action | None = None,
    state: PlanState | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[PlannedOut]:
    """What the run did; for a dry run, or one that awaits approval, what it would do."""
    after = decode("run-changes", cursor, int)
    async with service.db.read() as conn:
        await runs.get(conn, run_id)
        found = await pages.list_planned(conn, run_id, kind=kind, action=action, state=state, after=after, limit=limit)
    return paged(request, response, "run-changes", [(key, PlannedOut.of(change)) for key, change in found], limit)


@router.post(
    "/{run_id}/approval",
    summary="Decide on a run",
    responses=problems({404: NOT_FOUND, 409: ("run.not_awaiting_approval", "run.digest_mismatch")}),
)
async def decide_run(run_id: str, body: Decision, service: ServiceDep, language: LanguageDep) -> RunOut:
    """Approve or reject what a run withheld, or carry out a finished dry run. `digest` names exactly what was looked
    at; approved, it is a ceiling: the run plans anew and never destroys more than that."""
    decide = runs.approve if body.decision == "approve" else runs.reject
    async with service.db.write() as conn:
        await _living_source(conn, service, await runs.get(conn, run_id))
        run = await decide(conn, run_id, body.digest, body.reason, ADMIN)
        await audit.record(conn, ADMIN, f"run.{body.decision}", run_id, digest=body.digest)
    _wake(service, run)
    return run_out(run, language)


@router.post(
    "/{run_id}/cancellation",
    status_code=202,
    summary="Cancel a run",
    responses=problems({404: NOT_FOUND, 409: "run.finished"}),
)
async def cancel_run(run_id: str, service: ServiceDep, language: LanguageDep) -> RunOut:
    """At once where nobody works on it, else between two pages or batches."""
    async with service.db.write() as conn:
        run = await runs.cancel(conn, run_id)
        await audit.record(conn, ADMIN, "run.cancel", run_id)
    _wake(service, run)
    return run_out(run, language)


@router.post(
    "/{run_id}/retry",
    status_code=202,
    summary="Run it again",
    responses=problems(
        {404: (NOT_FOUND, "source.not_found"), 409: ("run.not_finished", "run.already_active", "source.disabled")}
    ),
)
async def retry_run(
    run_id: str, service: ServiceDep, language: LanguageDep, request: Request, response: Response
) -> RunOut:
    async with service.db.write() as conn:
        source = await _living_source(conn, service, await runs.get(conn, run_id))
        run = await runs.retry(conn, run_id, source)
        await audit.record(conn, ADMIN, "run.retry", run.id, retry_of=run_id)
    _wake(service, run)
    response.headers["Location"] = request.url.path.replace(f"/{run_id}/retry", f"/{run.id}")
    return run_out(run, language)


async def _fresh_run(
    run_id: str, service: ServiceDep, last_event_id: Annotated[Text | None, Header(max_length=200)] = None
) -> Run:
    """The run to be followed; 204, which ends a browser's reconnecting, to one who has already seen its end."""
    async with service.db.read() as conn:
        run = await runs.get(conn, run_id)
    if run.state in SETTLED and last_event_id == _mark(run):
        raise HTTPException(204)
    return run


@router.get(
    "/{run_id}/stream",
    summary="Follow a run",
    response_class=EventSourceResponse,
    responses={
        200: {
            "description": "Server-sent events `progress` (ProgressOut) and `state` (RunOut), until the run settles.",
            "content": {
                "text/event-stream": {
                    "example": 'event: progress\nid: running.users.7.40\ndata: {"state":"running","stage":"users"}\n\n'
                }
            },
        },
        204: {"description": "`Last-Event-ID` names the last event that there will be."},
        **problems({404: NOT_FOUND}),
    },
)
async def stream_run(
    run: Annotated[Run, Depends(_fresh_run)],
    service: ServiceDep,
    language: LanguageDep,
    last_event_id: Annotated[Text | None, Header(max_length=200)] = None,
) -> AsyncIterable[ProgressOut]:
    """`state` whenever the state changes, `progress` in between. It ends with the state in which the run settles."""
    seen, state = last_event_id, None if last_event_id is None else last_event_id.split(".")[0]
    while True:
        mark = _mark(run)
        if mark != seen:
            event = "progress" if run.state == state else "state"
            answer = run_out(run, language)
            data = answer if event == "state" else ProgressOut.model_validate(answer, from_attributes=True)
            yield ServerSentEvent(data=data, event=event, id=mark)  # type: ignore[misc]  # FastAPI's own way
            seen, state = mark, run.state
        if run.state in SETTLED:
            return
        await asyncio.sleep(GLANCE_SECONDS)
        async with service.db.read() as conn:
            run = await runs.get(conn, run.id)


def _wake(service: Service, run: Run) -> None:
    if run.target_id is None:
        service.engine.wake("runs", run.source_id)
    else:
        service.engine.wake("deliver", run.target_id)


def _mark(run: Run) -> str:
    return f"{run.state}.{run.stage or '-'}.{run.done}.{run.total}"


async def _living_source(conn: AsyncConnection, service: Service, run: Run) -> Source:
    source = await service.sources.get(conn, run.source_id)
    if source.deleted_at is not None:
        raise Refused("source.not_found", "There is no such source.", status=404)
    return source
