"""Incoming events: what WeCom told us and what became of it."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from app.api.deps import ADMIN, LanguageDep, ServiceDep
from app.api.openapi import problems
from app.api.paging import Cursor, Limit, Page, decode, paged
from app.api.schemas.events import EventOut, EventState, event_out
from app.api.schemas.fields import Text
from app.store import audit, inbox, pages

router = APIRouter(prefix="/events", tags=["Incoming events"])

NOT_FOUND = "event.not_found"


@router.get("", summary="List events", responses=problems({400: "cursor.invalid"}))
async def list_events(
    service: ServiceDep,
    language: LanguageDep,
    request: Request,
    response: Response,
    source_id: Annotated[Text | None, Query(max_length=64, description="Of this source only.")] = None,
    state: EventState | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[EventOut]:
    """Newest first."""
    after = decode("events", cursor, str)
    async with service.db.read() as conn:
        found = await pages.list_events(conn, source_id=source_id, state=state, after=after, limit=limit)
    return paged(request, response, "events", [(key, event_out(event, language)) for key, event in found], limit)


@router.get("/{event_id}", summary="Read an event", responses=problems({404: NOT_FOUND}))
async def get_event(
    event_id: str,
    service: ServiceDep,
    language: LanguageDep,
    include: Annotated[Literal["xml"] | None, Query(description="`xml`: with the decrypted message; noted.")] = None,
) -> EventOut:
    if include is None:
        async with service.db.read() as conn:
            return event_out(await pages.get_event(conn, event_id), language)
    async with service.db.write() as conn:
        event = await pages.get_event(conn, event_id)
        await audit.record(conn, ADMIN, "event.read_xml", event_id)
    return event_out(event, language, xml=True)


@router.post("/{event_id}/replay", status_code=202, summary="Replay an event", responses=problems({404: NOT_FOUND}))
async def replay_event(event_id: str, service: ServiceDep, language: LanguageDep) -> EventOut:
    """Its objects are read again. Replaying is harmless: an older reading never overwrites a newer one."""
    async with service.db.write() as conn:
        await inbox.replay(conn, event_id)
        await audit.record(conn, ADMIN, "event.replay", event_id)
        event = await pages.get_event(conn, event_id)
    service.engine.wake("events", event.source_id)
    return event_out(event, language)
