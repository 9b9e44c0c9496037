"""The directory as files."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from app.api import sheets
from app.api.deps import LanguageDep, ServiceDep
from app.api.directory import DepartmentsWanted, UsersWanted
from app.api.field_texts import field_message
from app.api.ldif import is_dn, ldif
from app.api.openapi import problems
from app.api.problem import invalid
from app.api.schemas.fields import Text
from app.errors import FieldError

router = APIRouter(prefix="/export", tags=["Directory"])

LDIF_BEGINS: Final = "version: 1\n\ndn: ou=people,dc=example,dc=com\n…"


def _file(media_type: str, example: Any, schema: str | None = None) -> dict[int | str, dict[str, Any]]:
    content: dict[str, Any] = {"example": example}
    if schema:
        content["schema"] = {"type": "array", "items": {"$ref": f"#/components/schemas/{schema}"}}
    return {200: {"description": "A file, streamed.", "content": {media_type: content}}}


@router.get(
    "/users.csv",
    summary="Export users as CSV",
    response_class=StreamingResponse,
    responses=_file("text/csv", "id,source_id,userid,…\r\n"),
)
async def export_users_csv(wanted: UsersWanted, service: ServiceDep) -> StreamingResponse:
    """For spreadsheets: UTF-8 with BOM, lists joined with `;`, and no cell is taken for a formula."""
    return _download(sheets.users_csv(service.db, wanted), "text/csv; charset=utf-8", "users.csv")


@router.get(
    "/users.json",
    summary="Export users as JSON",
    response_class=StreamingResponse,
    responses=_file("application/json", [], "UserOut"),
)
async def export_users_json(wanted: UsersWanted, service: ServiceDep) -> StreamingResponse:
    return _download(sheets.users_json(service.db, wanted), "application/json", "users.json")


@router.get(
    "/departments.csv",
    summary="Export departments as CSV",
    response_class=StreamingResponse,
    responses=_file("text/csv", "id,source_id,department_id,name,…\r\n"),
)
async def export_departments_csv(wanted: DepartmentsWanted, service: ServiceDep) -> StreamingResponse:
    """As the users' one; `path` holds the names from the top."""
    return _download(sheets.departments_csv(service.db, wanted), "text/csv; charset=utf-8", "departments.csv")


@router.get(
    "/departments.json",
    summary="Export departments as JSON",
    response_class=StreamingResponse,
    responses=_file("application/json", [], "DepartmentOut"),
)
async def export_departments_json(wanted: DepartmentsWanted, service: ServiceDep) -> StreamingResponse:
    return _download(sheets.departments_json(service.db, wanted), "application/json", "departments.json")


@router.get(
    "/directory.ldif",
    summary="Export a source as LDIF",
    response_class=StreamingResponse,
    responses=_file("text/ldif", LDIF_BEGINS) | problems({404: "source.not_found"}),
)
async def export_directory_ldif(
    source_id: Annotated[Text, Query(max_length=64)],
    service: ServiceDep,
    language: LanguageDep,
    base_dn: Annotated[
        Text, Query(max_length=250, description="What every name ends with, such as dc=example,dc=com.")
    ] = "dc=example,dc=com",
) -> StreamingResponse:
    """For a directory server: departments as `organizationalUnit`, active people as `inetOrgPerson`, and who is in a
    department as `groupOfNames`. A field that was never read or is empty is left out."""
    if not is_dn(base_dn):
        raise invalid([FieldError("/query/base_dn", field_message("distinguished_name", {}, language))])
    async with service.db.read() as conn:
        await service.sources.get(conn, source_id)
    return _download(ldif(service.db, source_id, base_dn), "text/ldif; charset=utf-8", "directory.ldif")


def _download(content: AsyncIterator[str], media_type: str, name: str) -> StreamingResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(content, media_type=media_type, headers=headers)
