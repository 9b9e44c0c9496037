"""`directory …`: departments and people as last read."""

import sys
from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.text import Text
from rich.tree import Tree

from app.api import sheets
from app.api.ldif import is_dn, ldif
from app.api.schemas.directory import DepartmentOut, UserOut, department_out, user_out
from app.cli.exits import Exit
from app.cli.screen import as_json, cell, out, table
from app.cli.session import Session, find_source, in_session, only_source
from app.store import pages
from app.store.db import Database
from app.store.pages import DepartmentFilter, UserFilter

group = typer.Typer(help="Look at departments and people as last read.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SourceName = Annotated[
    str | None, typer.Argument(help="Id or name of the source; may be left out if there is only one.", metavar="SOURCE")
]


class Form(StrEnum):
    CSV = "csv"
    JSON = "json"
    LDIF = "ldif"


@group.command()
def tree(source: SourceName = None, json: Json = False) -> None:
    """Show the departments with the number of people directly in each."""

    async def work(session: Session) -> Exit:
        wanted = await only_source(session, source)
        places = await _departments(session, DepartmentFilter(wanted.id, active=True))
        children = _by_parent(places)
        if json:
            as_json([_nested(place, children) for place in children.get(None, [])])
        else:
            grown = Tree(Text(cell(wanted.name), style="bold"), guide_style="dim")
            for place in children.get(None, []):
                _grow(grown, place, children)
            out.print(grown)
        return Exit.OK

    in_session(work)


@group.command()
def find(
    text: Annotated[str, typer.Argument(help="Part of a name, userid, mobile number or mail address, in any case.")],
    source: Annotated[str | None, typer.Option(help="Only in this source (id or name).")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many of each.")] = 20,
    json: Json = False,
) -> None:
    """Find people and departments."""

    async def work(session: Session) -> Exit:
        source_id = (await find_source(session, source)).id if source else None
        async with session.db.read() as conn:
            people = await pages.list_users(conn, UserFilter(source_id, q=text), after=None, limit=limit)
            places = await pages.list_departments(conn, DepartmentFilter(source_id, q=text), after=None, limit=limit)
        users = [user_out(person) for _, person in people[:limit]]
        departments = [department_out(place) for _, place in places[:limit]]
        if json:
            as_json({"users": users, "departments": departments})
        else:
            await _tell_found(session, users, departments)
        return Exit.OK

    in_session(work)


@group.command()
def export(
    source: SourceName = None,
    form: Annotated[
        Form, typer.Option("--format", help="csv for spreadsheets, json for programs, ldif for directory servers.")
    ] = Form.CSV,
    departments: Annotated[bool, typer.Option("--departments", help="The departments instead of the people.")] = False,
    base_dn: Annotated[str, typer.Option(help="What every name in an LDIF file ends with.")] = "dc=example,dc=com",
) -> None:
    """Write everybody, or every department, to stdout. An LDIF file holds both."""
    if not is_dn(base_dn):
        raise typer.BadParameter("must be a distinguished name such as dc=example,dc=com", param_hint="--base-dn")

    async def work(session: Session) -> Exit:
        wanted = await only_source(session, source)
        async for text in _file(session.db, wanted.id, form, departments, base_dn):
            sys.stdout.write(text)
        return Exit.OK

    in_session(work)


def _file(db: Database, source_id: str, form: Form, departments: bool, base_dn: str) -> AsyncIterator[str]:
    if form is Form.LDIF:
        return ldif(db, source_id, base_dn)
    if departments:
        wanted = DepartmentFilter(source_id)
        return sheets.departments_csv(db, wanted) if form is Form.CSV else sheets.departments_json(db, wanted)
    return (sheets.users_csv if form is Form.CSV else sheets.users_json)(db, UserFilter(source_id))


async def _tell_found(session: Session, users: list[UserOut], departments: list[DepartmentOut]) -> None:
    names: dict[tuple[str, int], str] = {}
    for source_id in {user.source_id for user in users}:
        for place in await _departments(session, DepartmentFilter(source_id)):
            names[source_id, place.department_id] = cell(place.name)
    if users:
        columns = ("userid", "name", "departments", "position", "active", "id")
        table(columns, [(u.userid, u.name, _seats(u, names), u.position, u.active, u.id) for u in users], "People")
    if departments:
        columns = ("department_id", "name", "parent", "people", "active", "id")
        rows = [(d.department_id, d.name, d.parent_id, d.member_count, d.active, d.id) for d in departments]
        table(columns, rows, "Departments")


def _seats(user: UserOut, names: dict[tuple[str, int], str]) -> str:
    return ", ".join(names.get((user.source_id, s.department_id), str(s.department_id)) for s in user.departments)


async def _departments(session: Session, wanted: DepartmentFilter) -> list[DepartmentOut]:
    return [place async for page in sheets.departments_of(session.db, wanted) for place in page]


def _by_parent(places: list[DepartmentOut]) -> dict[int | None, list[DepartmentOut]]:
    """Departments under their parents, in WeCom's order: a larger `order` stands earlier."""
    ids = {place.department_id for place in places}
    children: dict[int | None, list[DepartmentOut]] = {}
    for place in sorted(places, key=lambda place: (-(place.order or 0), place.department_id)):
        children.setdefault(place.parent_id if place.parent_id in ids else None, []).append(place)
    return children


def _nested(place: DepartmentOut, children: dict[int | None, list[DepartmentOut]]) -> dict[str, Any]:
    below = [_nested(child, children) for child in children.get(place.department_id, [])]
    return place.model_dump(mode="json") | {"children": below}


def _grow(tree: Tree, place: DepartmentOut, children: dict[int | None, list[DepartmentOut]]) -> None:
    label = Text.assemble(cell(place.name), (f"  {place.member_count}", "cyan"), (f"  #{place.department_id}", "dim"))
    branch = tree.add(label)
    for child in children.get(place.department_id, []):
        _grow(branch, child, children)
