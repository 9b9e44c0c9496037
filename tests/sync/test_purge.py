"""A deleted source: nothing goes on, and where it is asked for nothing is left."""

import pytest

from app.store import runs
from app.store.bulk import table_of
from app.store.tables import (
    ChangeRow,
    DepartmentRow,
    InboxRow,
    MembershipRow,
    PlannedChangeRow,
    RunRow,
    StagedPageRow,
    StagedUserRow,
    UserRow,
)
from tests.sync.harness import Bench

HELD = (ChangeRow, DepartmentRow, InboxRow, MembershipRow, PlannedChangeRow, StagedPageRow, StagedUserRow, UserRow)


async def test_a_purge_leaves_nothing_but_its_own_record(desk: Bench) -> None:
    await desk.sync()
    await desk.tell(*desk.company.move("p01", [4]))
    for model in HELD:
        assert await desk.count(table_of(model)) > 0
    async with desk.db.write() as conn:
        await desk.sources.delete(conn, desk.source.id)
        ordered = await runs.order_purge(conn, desk.source.id)
    assert (await desk.ended(ordered.id)).state == "succeeded"
    assert {model.__name__: await desk.count(table_of(model)) for model in HELD} == dict.fromkeys(
        (model.__name__ for model in HELD), 0
    )
    assert await desk.count(table_of(RunRow)) == 1


@pytest.mark.parametrize("state", ["queued", "running"])
async def test_what_a_killed_worker_left_of_a_deleted_source_is_ended(desk: Bench, state: str) -> None:
    async with desk.db.write() as conn:
        left = await runs.order(conn, desk.source)
        await runs.save(conn, left.id, state=state)
        await desk.sources.delete(conn, desk.source.id)
    assert (await desk.ended(left.id)).state == "cancelled"
