"""Our writer and our engine against a real NocoBase: it holds what the directory says, and nothing twice."""

from typing import Any

import pytest

from tests.nocobase.conftest import Real
from tests.sync.harness import departments, memberships, users

PEOPLE = 120


async def differences(real: Real) -> list[Any]:
    """What NocoBase holds otherwise than our directory: empty when they agree."""
    desk = real.desk
    places = {row["department_id"]: row for row in await desk.rows(departments) if row["active"]}
    titles = {number: row["name"] for number, row in places.items()}
    seats: dict[str, set[str]] = {}
    leads: dict[str, set[str]] = {}
    rows = {row["id"]: row for row in await desk.rows(users)}
    for row in await desk.rows(memberships):
        if rows[row["user_id"]]["active"]:
            name = rows[row["user_id"]]["userid"].lower()
            seats.setdefault(name, set()).add(titles[row["department_id"]])
            if row["is_leader"]:
                leads.setdefault(titles[row["department_id"]], set()).add(name)
    wanted_people = {
        row["userid"].lower(): (
            row["name"],
            row["mobile"] or None,
            seats.get(row["userid"].lower(), set()),
            titles.get(row["main_department_id"]),
        )
        for row in rows.values()
        if row["active"]
    }
    held_people = {
        name: (
            row["nickname"],
            row["phone"],
            {place["title"] for place in row["departments"]},
            (row["mainDepartment"] or {}).get("title"),
        )
        for name, row in (await real.people()).items()
        if row["departments"]
    }
    wanted_places = sorted(
        (row["name"], titles.get(row["parent_id"]), sorted(leads.get(row["name"], set()))) for row in places.values()
    )
    held_places = sorted(
        (row["title"], (row["parent"] or {}).get("title"), sorted(owner["username"] for owner in row["owners"]))
        for row in await real.places()
    )
    found: list[Any] = [
        (name, held_people.get(name), wanted_people.get(name))
        for name in wanted_people.keys() | held_people.keys()
        if held_people.get(name) != wanted_people.get(name)
    ]
    return found + ([(held_places, wanted_places)] if held_places != wanted_places else [])


@pytest.mark.timeout(900)
async def test_a_company_lives_and_nocobase_follows(real: Real) -> None:
    """The first load, then moves, renames, another userid, leavers and returners, and departments that go."""
    company = real.desk.company
    with company.quiet():
        for number in range(2, 12):
            company.create_department(f"部门{number}", parent=1 if number < 5 else number - 3, id=number)
        for number in range(PEOPLE):
            company.join(f"User{number:03}", f"员工{number}", (2 + number % 10,), mobile=f"139{number:08}")
        company.lead("User000", 2)
    await real.sync()
    assert await differences(real) == []
    target = await real.target()
    assert (target.condition, target.last_error) == ("ok", None)

    company.move("User001", (3, 4))
    company.rename("User002", "改名")
    account = (await real.people())["user003"]["id"]
    await real.desk.tell(*company.rename_userid("User003", "renamed003"))
    await real.desk.drain()
    company.leave("User004")
    company.join("newcomer", "新人", (5,))
    company.rename_department(4, "新部门名")
    company.move_department(10, 3)
    company.lead("User000", 2, leader=False)
    await real.sync()
    assert await differences(real) == []
    assert (await real.people())["renamed003"]["id"] == account
    assert "user003" not in await real.people()
    assert (await real.people())["user004"]["departments"] == []

    company.join("User004", "员工4", (2,), mobile="13900000004")
    for userid in [user for user in company.userids if company.user(user).memberships[0].department == 11]:
        company.move(userid, (2,))
    company.delete_department(11)
    await real.sync()
    assert await differences(real) == []
    assert len(await real.places()) == 10
    before = len(await real.people())
    await real.sync()
    assert len(await real.people()) == before
