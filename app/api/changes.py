"""The change feed of a source: everything that happened, once, in commit order."""

import asyncio
from time import monotonic
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from app.api.deps import Service, ServiceDep
from app.api.openapi import problems
from app.api.paging import Limit, next_link
from app.api.schemas.directory import ChangeOut, Feed
from app.api.schemas.fields import LARGEST, Text
from app.store import pages
from app.store.changes import Applied

router = APIRouter(prefix="/changes", tags=["Directory"])

LOOK_SECONDS: Final = 0.25


@router.get("", summary="Read the change feed", responses=problems({404: "source.not_found", 410: "changes.gone"}))
async def list_changes(
    source_id: Annotated[Text, Query(max_length=64)],
    service: ServiceDep,
    request: Request,
    response: Response,
    after: Annotated[int, Query(ge=0, le=LARGEST - 1, description="The last `seq` that you have.")] = 0,
    limit: Limit = 50,
    wait: Annotated[int, Query(ge=0, le=60, description="Seconds to wait for a change where there is none yet.")] = 0,
) -> Feed:
    """Every change of a source once, in the order in which they were made.

    A number once passed never gains a row below it and no number is left out, so remembering `next_after` is enough to
    miss nothing. Whoever stops between two pages reads the second again: apply a change by its `object_id` and `seq`.
    A 410 says that the next change was purged: read the directory anew and go on from the source's newest `seq`.
    With `wait` the answer comes with the first change, or empty when the time is over.
    """
    until = monotonic() + wait
    found = await _feed(service, source_id, after, limit)
    while not found and monotonic() < until and not await request.is_disconnected():
        await asyncio.sleep(min(LOOK_SECONDS, max(until - monotonic(), 0.0)))
        found = await _feed(service, source_id, after, limit)
    next_after = found[-1].seq if found else after
    if len(found) == limit:
        response.headers["Link"] = next_link(request, after=next_after)
    return Feed(items=[ChangeOut.of(change) for change in found], next_after=next_after)


async def _feed(service: Service, source_id: str, after: int, limit: int) -> list[Applied]:
    """Each look is a short transaction of its own."""
    async with service.db.read() as conn:
        return await pages.feed(conn, source_id, after=after, limit=limit)
