"""The users as one file. Each page is a short transaction of its own, so that a slow reader holds nothing up."""

import csv
import io
from collections.abc import AsyncIterator
from typing import Any, Final

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from app.api.deps import Service, ServiceDep
from app.api.directory import UsersWanted
from app.api.schemas.directory import UserOut, user_out
from app.store import pages
from app.store.pages import UserFilter

router = APIRouter(prefix="/export", tags=["Directory"])

ROWS: Final = 500
BOM: Final = "\ufeff"
COLUMNS: Final = (
    "id",
    "source_id",
    "userid",
    "name",
    "alias",
    "position",
    "status",
    "active",
    "suspended",
    "mobile",
    "email",
    "biz_mail",
    "telephone",
    "gender",
    "address",
    "main_department_id",
    "department_ids",
    "direct_leaders",
    "unmanaged_since",
    "observed_at",
    "created_at",
    "updated_at",
    "deactivated_at",
)
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\x00")
"""What makes a spreadsheet calculate a cell instead of showing it (OWASP: CSV injection)."""


@router.get(
    "/users.csv",
    summary="Export users as CSV",
    response_class=StreamingResponse,
    responses={
        200: {"description": "UTF-8 with BOM.", "content": {"text/csv": {"example": "id,source_id,userid,…\r\n"}}}
    },
)
async def export_users_csv(wanted: UsersWanted, service: ServiceDep) -> StreamingResponse:
    """For spreadsheets: lists are joined with `;`, and no cell is taken for a formula."""
    return _download(_csv(service, wanted), "text/csv; charset=utf-8", "users.csv")


@router.get(
    "/users.json",
    summary="Export users as JSON",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "An array of users.",
            "content": {
                "application/json": {
                    "schema": {"type": "array", "items": {"$ref": "#/components/schemas/UserOut"}},
                    "example": [],
                }
            },
        }
    },
)
async def export_users_json(wanted: UsersWanted, service: ServiceDep) -> StreamingResponse:
    return _download(_json(service, wanted), "application/json", "users.json")


def cell(value: Any) -> str:
    """A value as text that no spreadsheet calculates."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = ";".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"'{text}" if text.startswith(FORMULA) else text


def _download(content: AsyncIterator[str], media_type: str, name: str) -> StreamingResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(content, media_type=media_type, headers=headers)


async def _csv(service: Service, wanted: UserFilter) -> AsyncIterator[str]:
    yield BOM + _lines([COLUMNS])
    async for users in _pages(service, wanted):
        rows = [user.model_dump(mode="json") | {"department_ids": _ids(user)} for user in users]
        yield _lines([[cell(row[name]) for name in COLUMNS] for row in rows])


async def _json(service: Service, wanted: UserFilter) -> AsyncIterator[str]:
    before = "["
    async for users in _pages(service, wanted):
        for user in users:
            yield before + user.model_dump_json()
            before = ","
    yield "[]" if before == "[" else "]"


async def _pages(service: Service, wanted: UserFilter) -> AsyncIterator[list[UserOut]]:
    after: str | None = None
    while True:
        async with service.db.read() as conn:
            found = await pages.list_users(conn, wanted, after=after, limit=ROWS)
        if not found:
            return
        yield [user_out(person) for _, person in found]
        after = found[-1][0]


def _ids(user: UserOut) -> list[int]:
    return [seat.department_id for seat in user.departments]


def _lines(rows: list[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue()
