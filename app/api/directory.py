"""The directory as last read: people, departments, and what happened to each."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BeforeValidator

from app.api.deps import LanguageDep, ServiceDep
from app.api.field_texts import field_message
from app.api.language import Language
from app.api.openapi import problems
from app.api.paging import Cursor, Limit, Page, decode, paged
from app.api.problem import invalid
from app.api.schemas.directory import DepartmentOut, HistoryOut, UserOut, department_out, user_out
from app.api.schemas.fields import Text, WeComId
from app.errors import FieldError
from app.store import pages
from app.store.pages import DepartmentFilter, UserFilter

router = APIRouter(tags=["Directory"])


def _number(value: object) -> object:
    return int(value) if isinstance(value, str) and value in ("1", "2", "4", "5") else value


SourceFilter = Annotated[Text | None, Query(max_length=64, description="Of this source only.")]
Search = Annotated[Text | None, Query(min_length=1, max_length=100, description="Part of it, in any case.")]
Status = Annotated[Literal[1, 2, 4, 5] | None, BeforeValidator(_number), Query(description="WeCom's status.")]
InDepartment = Annotated[
    WeComId | None, Query(description="Directly in this department (WeCom's id; needs source_id).")
]
UnderParent = Annotated[WeComId | None, Query(description="Directly under this one (WeCom's id; needs source_id).")]


def _user_filter(
    language: LanguageDep,
    source_id: SourceFilter = None,
    userid: Annotated[Text | None, Query(min_length=1, max_length=64, description="Regardless of case.")] = None,
    q: Search = None,
    department_id: InDepartment = None,
    status: Status = None,
    active: Annotated[bool | None, Query(description="Whether the person is still there.")] = None,
    unmanaged: Annotated[bool | None, Query(description="Whether the person is out of sight.")] = None,
) -> UserFilter:
    _needs_source("department_id", department_id, source_id, language)
    return UserFilter(source_id, userid, q, department_id, status, active, unmanaged)


def _department_filter(
    language: LanguageDep,
    source_id: SourceFilter = None,
    parent_id: UnderParent = None,
    q: Search = None,
    active: Annotated[bool | None, Query(description="Whether it still exists.")] = None,
) -> DepartmentFilter:
    _needs_source("parent_id", parent_id, source_id, language)
    return DepartmentFilter(source_id, parent_id, q, active)


def _needs_source(name: str, value: int | None, source_id: str | None, language: Language) -> None:
    if value is not None and source_id is None:
        raise invalid([FieldError(f"/query/{name}", field_message("needs_source", {}, language))])


UsersWanted = Annotated[UserFilter, Depends(_user_filter)]
DepartmentsWanted = Annotated[DepartmentFilter, Depends(_department_filter)]


@router.get("/users", summary="List users", responses=problems({400: "cursor.invalid"}))
async def list_users(
    wanted: UsersWanted,
    service: ServiceDep,
    request: Request,
    response: Response,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[UserOut]:
    """In the order in which they were first seen. `q` looks into userid, name, alias, mobile and the mail addresses."""
    after = decode("users", cursor, str)
    async with service.db.read() as conn:
        found = await pages.list_users(conn, wanted, after=after, limit=limit)
    return paged(request, response, "users", [(key, user_out(person)) for key, person in found], limit)


@router.get("/users/{user_id}", summary="Read a user", responses=problems({404: "user.not_found"}))
async def get_user(user_id: str, service: ServiceDep) -> UserOut:
    async with service.db.read() as conn:
        return user_out(await pages.get_user(conn, user_id))


@router.get(
    "/users/{user_id}/history",
    summary="List what happened to a user",
    responses=problems({400: "cursor.invalid", 404: "user.not_found"}),
)
async def list_user_history(
    user_id: str, service: ServiceDep, request: Request, response: Response, limit: Limit = 50, cursor: Cursor = None
) -> Page[HistoryOut]:
    """Newest first, the changes of the user's memberships among them."""
    before = decode("user-history", cursor, int)
    async with service.db.read() as conn:
        await pages.get_user(conn, user_id)
        found = await pages.list_history(conn, user_id, after=before, limit=limit)
    return paged(request, response, "user-history", [(key, HistoryOut.of(change)) for key, change in found], limit)


@router.get("/departments", summary="List departments", responses=problems({400: "cursor.invalid"}))
async def list_departments(
    wanted: DepartmentsWanted,
    service: ServiceDep,
    request: Request,
    response: Response,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[DepartmentOut]:
    """In the order in which they were first seen. `q` looks into both names."""
    after = decode("departments", cursor, str)
    async with service.db.read() as conn:
        found = await pages.list_departments(conn, wanted, after=after, limit=limit)
    return paged(request, response, "departments", [(key, department_out(place)) for key, place in found], limit)


@router.get("/departments/{id}", summary="Read a department", responses=problems({404: "department.not_found"}))
async def get_department(id: str, service: ServiceDep) -> DepartmentOut:
    async with service.db.read() as conn:
        return department_out(await pages.get_department(conn, id))


@router.get(
    "/departments/{id}/history",
    summary="List what happened to a department",
    responses=problems({400: "cursor.invalid", 404: "department.not_found"}),
)
async def list_department_history(
    id: str, service: ServiceDep, request: Request, response: Response, limit: Limit = 50, cursor: Cursor = None
) -> Page[HistoryOut]:
    """Newest first."""
    before = decode("department-history", cursor, int)
    async with service.db.read() as conn:
        await pages.get_department(conn, id)
        found = await pages.list_history(conn, id, after=before, limit=limit)
    return paged(
        request, response, "department-history", [(key, HistoryOut.of(change)) for key, change in found], limit
    )
