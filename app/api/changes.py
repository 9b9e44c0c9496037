"""The change feed of a source: everything that happened, once, in commit order."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.api.deps import ServiceDep
from app.api.openapi import problems
from app.api.paging import Limit, next_link
from app.api.schemas.directory import ChangeOut, Feed
from app.api.schemas.fields import LARGEST, Text
from app.store import pages

router = APIRouter(prefix="/changes", tags=["Directory"])


@router.get("", summary="Read the change feed", responses=problems({404: "source.not_found", 410: "changes.gone"}))
async def list_changes(
    source_id: Annotated[Text, Query(max_length=64)],
    service: ServiceDep,
    request: Request,
    response: Response,
    after: Annotated[int, Query(ge=0, le=LARGEST - 1, description="The last `seq` that you have.")] = 0,
    limit: Limit = 50,
) -> Feed:
    """A number once passed never gains a row below it, so remembering `next_after` is enough to miss nothing."""
    async with service.db.read() as conn:
        found = await pages.feed(conn, source_id, after=after, limit=limit)
    next_after = found[-1].seq if found else after
    if len(found) == limit:
        response.headers["Link"] = next_link(request, after=next_after)
    return Feed(items=[ChangeOut.of(change) for change in found], next_after=next_after)
