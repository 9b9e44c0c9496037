"""Everybody, or every department, as CSV or JSON, piece by piece.

Each page is a short transaction of its own, so that a slow reader holds nothing up.
"""

import csv
import io
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel

from app.api.schemas.directory import DepartmentOut, UserOut, department_out, user_out
from app.store import pages
from app.store.db import Database
from app.store.pages import DepartmentFilter, UserFilter

ROWS: Final = 500
BOM: Final = "\ufeff"
USER_COLUMNS: Final = (
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
DEPARTMENT_COLUMNS: Final = (
    "id",
    "source_id",
    "department_id",
    "name",
    "name_en",
    "path",
    "parent_id",
    "order",
    "leaders",
    "active",
    "member_count",
    "unmanaged_since",
    "observed_at",
    "created_at",
    "updated_at",
    "removed_at",
)
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\x00")
"""What makes a spreadsheet calculate a cell instead of showing it (OWASP: CSV injection)."""


async def users_csv(db: Database, wanted: UserFilter) -> AsyncIterator[str]:
    """UTF-8 with BOM; lists are joined with `;`, and no cell is taken for a formula."""
    yield BOM + _lines([USER_COLUMNS])
    async for users in users_of(db, wanted):
        rows = [user.model_dump(mode="json") | {"department_ids": _ids(user)} for user in users]
        yield _lines([_cells(row, USER_COLUMNS) for row in rows])


async def departments_csv(db: Database, wanted: DepartmentFilter) -> AsyncIterator[str]:
    """As `users_csv`; `path` holds the names from the top, with ` / ` between them."""
    yield BOM + _lines([DEPARTMENT_COLUMNS])
    names = await Names.read(db, wanted.source_id)
    async for places in departments_of(db, wanted):
        rows = [place.model_dump(mode="json") | {"path": names.path(place)} for place in places]
        yield _lines([_cells(row, DEPARTMENT_COLUMNS) for row in rows])


async def users_json(db: Database, wanted: UserFilter) -> AsyncIterator[str]:
    """One array, a user per line."""
    async for text in _array(users_of(db, wanted)):
        yield text


async def departments_json(db: Database, wanted: DepartmentFilter) -> AsyncIterator[str]:
    """One array, a department per line."""
    async for text in _array(departments_of(db, wanted)):
        yield text


class Names:
    """The departments' names and parents, for paths."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], tuple[str, int | None]] = {}

    @classmethod
    async def read(cls, db: Database, source_id: str | None) -> "Names":
        made = cls()
        async for places in departments_of(db, DepartmentFilter(source_id)):
            for place in places:
                made._known[place.source_id, place.department_id] = (place.name or "", place.parent_id)
        return made

    def path(self, place: DepartmentOut) -> str:
        """From the top; a cycle, which a directory holds for a moment only, ends it."""
        names, seen, number = [place.name or ""], {place.department_id}, place.parent_id
        while number is not None and number not in seen and (place.source_id, number) in self._known:
            seen.add(number)
            name, number = self._known[place.source_id, number]
            names.append(name)
        return " / ".join(reversed(names))


async def users_of(db: Database, wanted: UserFilter) -> AsyncIterator[list[UserOut]]:
    """Users page by page."""
    after: str | None = None
    while True:
        async with db.read() as conn:
            found = (await pages.list_users(conn, wanted, after=after, limit=ROWS))[:ROWS]
        if not found:
            return
        yield [user_out(person) for _, person in found]
        after = found[-1][0]


async def departments_of(db: Database, wanted: DepartmentFilter) -> AsyncIterator[list[DepartmentOut]]:
    """Departments page by page."""
    after: str | None = None
    while True:
        async with db.read() as conn:
            found = (await pages.list_departments(conn, wanted, after=after, limit=ROWS))[:ROWS]
        if not found:
            return
        yield [department_out(place) for _, place in found]
        after = found[-1][0]


def cell(value: Any) -> str:
    """A value as text that no spreadsheet calculates."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = ";".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"'{text}" if text.startswith(FORMULA) else text


async def _array(found: AsyncIterator[Sequence[BaseModel]]) -> AsyncIterator[str]:
    before = "["
    async for page in found:
        for item in page:
            yield before + item.model_dump_json()
            before = ",\n"
    yield "[]\n" if before == "[" else "]\n"


def _cells(row: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    return [cell(row[name]) for name in columns]


def _ids(user: UserOut) -> list[int]:
    return [seat.department_id for seat in user.departments]


def _lines(rows: Sequence[Sequence[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue()
