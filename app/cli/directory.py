"""`directory …`: departments and people as last read."""

import csv
import sys
from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.text import Text
from rich.tree import Tree

from app.api.export import BOM, COLUMNS
from app.api.export import cell as csv_cell
from app.api.schemas.directory import DepartmentOut, UserOut, department_out, user_out
from app.cli.exits import Exit
from app.cli.screen import as_json, cell, out, table
from app.cli.session import Session, find_source, in_session, only_source
from app.store import pages
from app.store.pages import DepartmentFilter, UserFilter

group = typer.Typer(help="Look at departments and people as last read.", no_args_is_help=True)

PAGE = 500
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SourceName = Annotated[
    str | None, typer.Argument(help="Id or name of the source; may be left out if there is only one.", metavar="SOURCE")
]


class Form(StrEnum):
    CSV = "csv"
    JSON = "json"


@group.command()
def tree(source: SourceName = None, json: Json = False) -> None:
    """Show the departments with the number of people directly in each."""

    async def work(session: Session) -> Exit:
        wanted = await only_source(session, source)
        places = [place async for place in _departments(session, DepartmentFilter(wanted.id, active=True))]
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
    form: Annotated[Form, typer.Option("--format", help="csv for spreadsheets, json for programs.")] = Form.CSV,
) -> None:
    """Write everybody to stdout."""

    async def work(session: Session) -> Exit:
        wanted = await only_source(session, source)
        users = _users(session, UserFilter(wanted.id))
        await (_write_csv(users) if form is Form.CSV else _write_json(users))
        return Exit.OK

    in_session(work)


async def _tell_found(session: Session, users: list[UserOut], departments: list[DepartmentOut]) -> None:
    names: dict[tuple[str, int], str] = {}
    for source_id in {user.source_id for user in users}:
        async for place in _departments(session, DepartmentFilter(source_id)):
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


async def _departments(session: Session, wanted: DepartmentFilter) -> AsyncIterator[DepartmentOut]:
    after: str | None = None
    while True:
        async with session.db.read() as conn:
            found = await pages.list_departments(conn, wanted, after=after, limit=PAGE)
        for _, place in found:
            yield department_out(place)
        if len(found) <= PAGE:
            return
        after = found[-1][0]


async def _users(session: Session, wanted: UserFilter) -> AsyncIterator[UserOut]:
    after: str | None = None
    while True:
        async with session.db.read() as conn:
            found = await pages.list_users(conn, wanted, after=after, limit=PAGE)
        for _, person in found:
            yield user_out(person)
        if len(found) <= PAGE:
            return
        after = found[-1][0]


async def _write_csv(users: AsyncIterator[UserOut]) -> None:
    sys.stdout.write(BOM)
    lines = csv.writer(sys.stdout, lineterminator="\r\n")
    lines.writerow(COLUMNS)
    async for user in users:
        row = user.model_dump(mode="json") | {"department_ids": [seat.department_id for seat in user.departments]}
        lines.writerow([csv_cell(row[name]) for name in COLUMNS])


async def _write_json(users: AsyncIterator[UserOut]) -> None:
    before = "["
    async for user in users:
        sys.stdout.write(before + user.model_dump_json())
        before = ",\n"
    sys.stdout.write("]\n" if before != "[" else "[]\n")


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
