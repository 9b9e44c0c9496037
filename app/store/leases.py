"""Who owns a piece of work: claiming it, fencing its transactions, numbering the feed in them (design: fencing).

Expiry is judged by the database's clock on PostgreSQL, so that hosts whose clocks differ agree.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, DateTime, exists, func, literal, or_, select, type_coerce, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import Fenced, Refused
from app.store.bulk import table_of
from app.store.tables import LeaseRow, SourceRow, Utc

TTL: Final = 5.0

lease_table = table_of(LeaseRow)
source_table = table_of(SourceRow)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on `id` ("source:events", ...); `token` grows with every claim."""

    id: str
    token: int
    owner: str


def moment(conn: AsyncConnection, seconds: float = 0.0) -> ColumnElement[datetime]:
    """Now plus `seconds` by the clock that all holders share."""
    if conn.dialect.name == "postgresql":
        return type_coerce(func.clock_timestamp() + timedelta(seconds=seconds), DateTime(timezone=True))
    return literal(datetime.now(UTC) + timedelta(seconds=seconds), Utc)


async def claim(conn: AsyncConnection, id: str, owner: str, ttl: float = TTL) -> Lease | None:
    """Take a lease that is free or expired; None when it is held, or being written under, by another."""
    free = (
        select(lease_table.c.id)
        .where(lease_table.c.id == id, or_(lease_table.c.owner.is_(None), lease_table.c.until < moment(conn)))
        .with_for_update(skip_locked=True)
    )
    taken = await conn.execute(
        update(lease_table)
        .where(lease_table.c.id.in_(free))
        .values(token=lease_table.c.token + 1, owner=owner, until=moment(conn, ttl))
        .returning(lease_table.c.token)
    )
    token = taken.scalar_one_or_none() or await _first_token(conn, id, owner, ttl)
    return None if token is None else Lease(id, token, owner)


async def _first_token(conn: AsyncConnection, id: str, owner: str, ttl: float) -> int | None:
    """Make the row of a lease that nobody has ever claimed.

    Only where there is none: ON CONFLICT alone would wait for a transaction under the existing one.
    """
    new = select(literal(id), literal(1), literal(owner), moment(conn, ttl))
    absent = new.where(~exists().where(lease_table.c.id == id))
    insert = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
    made = insert(lease_table).from_select(["id", "token", "owner", "until"], absent)
    first: int | None = await conn.scalar(made.on_conflict_do_nothing().returning(lease_table.c.token))
    return first


async def fence(conn: AsyncConnection, lease: Lease, ttl: float = TTL) -> None:
    """First statement of every writing transaction under `lease`: renews it or raises Fenced."""
    renewed = await conn.execute(
        update(lease_table).where(*_held(lease)).values(until=moment(conn, ttl)).returning(lease_table.c.id)
    )
    if renewed.first() is None:
        raise Fenced(lease.id)


async def renew(conn: AsyncConnection, lease: Lease, ttl: float = TTL) -> None:
    """Keep a lease between network reads; raises Fenced when it is another's."""
    await fence(conn, lease, ttl)


async def release(conn: AsyncConnection, lease: Lease) -> None:
    """Give a lease back; nothing happens when another has it already."""
    await conn.execute(update(lease_table).where(*_held(lease)).values(owner=None, until=None))


async def free_own(conn: AsyncConnection, owner: str) -> None:
    """At start: free what a former process of the same stable name still held."""
    await conn.execute(update(lease_table).where(lease_table.c.owner == owner).values(owner=None, until=None))


async def take_seqs(conn: AsyncConnection, source_id: str, count: int) -> int:
    """Lock the source row and take its next `count` feed numbers; returns the first. Second statement, after the fence.

    The lock is held until the transaction ends, so that numbers are gap-free and in commit order.
    """
    taken = await conn.execute(
        update(source_table)
        .where(source_table.c.id == source_id)
        .values(next_seq=source_table.c.next_seq + count)
        .returning(source_table.c.next_seq)
    )
    after = taken.scalar_one_or_none()
    if after is None:
        raise Refused("source.not_found", "there is no such source", status=404, params={"id": source_id})
    return int(after) - count


def _held(lease: Lease) -> tuple[ColumnElement[bool], ...]:
    return lease_table.c.id == lease.id, lease_table.c.token == lease.token, lease_table.c.owner == lease.owner
