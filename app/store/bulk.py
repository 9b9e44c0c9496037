"""Writing many rows at once: one set-based statement on PostgreSQL, one prepared statement on SQLite.

psycopg's executemany is pipelined and would escape the session's time limits (design: the engine), so PostgreSQL gets
the rows as one JSON value.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Table, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import SQLModel

Row = Mapping[str, Any]


def table_of(model: type[SQLModel]) -> Table:
    """The Core table behind a row class."""
    return model.__table__  # type: ignore[attr-defined,no-any-return]


async def insert(conn: AsyncConnection, model: type[SQLModel], rows: Sequence[Row]) -> None:
    """Insert rows that do not exist yet; every row must name every column that has no database default."""
    await _write(conn, table_of(model), rows, "")


async def upsert(
    conn: AsyncConnection, model: type[SQLModel], rows: Sequence[Row], *, only_newer: bool = False
) -> None:
    """Insert rows or replace those with the same primary key; with `only_newer` unless `observed` would go back."""
    table = table_of(model)
    keys = [column.name for column in table.primary_key]
    others = [name for name in rows[0] if name not in keys] if rows else []
    assignments = ", ".join(f'"{name}" = excluded."{name}"' for name in others)
    where = f' WHERE excluded.observed > "{table.name}".observed' if only_newer else ""
    conflict = f"ON CONFLICT ({', '.join(keys)}) DO " + (f"UPDATE SET {assignments}{where}" if others else "NOTHING")
    await _write(conn, table, rows, conflict)


async def delete(conn: AsyncConnection, model: type[SQLModel], keys: Sequence[Row]) -> None:
    """Delete the rows with these keys (all naming the same columns)."""
    if not keys:
        return
    table, names = table_of(model), list(keys[0])
    if conn.dialect.name == "sqlite":
        where = " AND ".join(f'"{name}" = :{name}' for name in names)
        await conn.execute(text(f'DELETE FROM "{table.name}" WHERE {where}'), [dict(key) for key in keys])  # noqa: S608
        return
    match = " AND ".join(f't."{name}" = k."{name}"' for name in names)
    source = f'jsonb_populate_recordset(NULL::"{table.name}", CAST(:rows AS jsonb)) k'
    await conn.execute(text(f'DELETE FROM "{table.name}" t USING {source} WHERE {match}'), {"rows": _json(keys)})  # noqa: S608


async def _write(conn: AsyncConnection, table: Table, rows: Sequence[Row], conflict: str) -> None:
    if not rows:
        return
    names = list(rows[0])
    columns = ", ".join(f'"{name}"' for name in names)
    if conn.dialect.name == "sqlite":
        values = ", ".join("?" for _ in names)
        statement = f'INSERT INTO "{table.name}" ({columns}) VALUES ({values}) {conflict}'  # noqa: S608
        await conn.exec_driver_sql(statement, bound(table, names, rows))
        return
    source = f'jsonb_populate_recordset(NULL::"{table.name}", CAST(:rows AS jsonb))'
    statement = f'INSERT INTO "{table.name}" ({columns}) SELECT {columns} FROM {source} {conflict}'  # noqa: S608
    await conn.execute(text(statement), {"rows": _json(rows)})


_SQLITE = sqlite.dialect()

Convert = Callable[[Any], Any]


@cache
def _converters(table: Table) -> dict[str, Convert | None]:
    """How SQLite stores the values of each column (times, JSON): by the column's own type."""
    types = {column.name: column.type.dialect_impl(_SQLITE) for column in table.columns}
    return {name: kind.bind_processor(_SQLITE) for name, kind in types.items()}


def bound(table: Table, names: Sequence[str], rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    """The values of rows as SQLite stores them, in the order of `names`."""
    converters = [(name, _converters(table)[name]) for name in names]
    return [tuple(convert(row[name]) if convert else row[name] for name, convert in converters) for row in rows]


def _json(rows: Collection[Row]) -> str:
    return json.dumps([dict(row) for row in rows], ensure_ascii=False, default=_iso)


def _iso(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} cannot be written")
