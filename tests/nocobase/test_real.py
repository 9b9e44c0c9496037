"""The real service, a real NocoBase: it holds what the directory says, and nothing twice, whoever dies in between."""

from tests.nocobase.conftest import PEOPLE, Place, up
from tests.sync.harness import until


async def test_a_company_lives_and_nocobase_follows(place: Place) -> None:
    """The first load, then moves, renames, another userid, leavers and returners, and a department that goes."""
    root = await place.nocobase.root()
    await place.connect()
    await place.settled()
    assert await place.differences() == []
    assert len(await place.nocobase.people()) >= PEOPLE
    before = await place.nocobase.people()

    company, ids = place.company, place.active
    mover, renamed, leaver, leader, other = ids[:5]
    tree = company.records.departments
    leaf = next(number for number in reversed(tree) if number not in {place.parent for place in tree.values()})
    company.move(mover, (1, leaf))
    company.rename(renamed, "改名")
    company.rename_userid(other, "another-name")
    left = company.user(leaver)
    company.leave(leaver)
    company.join("newcomer", "新人", (leaf,))
    company.lead(leader, company.user(leader).memberships[0].department)
    company.rename_department(leaf, "新部门名")
    await place.sync()
    await place.settled()
    assert await place.differences() == []
    now = await place.nocobase.people()
    assert now["another-name"]["id"] == before[other.lower()]["id"]
    assert other.lower() not in now
    assert now[leaver.lower()]["departments"] == []

    company.join(leaver, left.name, (leaf,), mobile=left.mobile)
    for userid in [user for user in company.userids if leaf in [m.department for m in company.user(user).memberships]]:
        company.move(userid, (1,))
    company.delete_department(leaf)
    await place.sync()
    await place.settled()
    assert await place.differences() == []
    assert (await place.nocobase.people())[leaver.lower()]["id"] == before[leaver.lower()]["id"]
    assert await place.nocobase.root() == root


async def test_killed_in_the_middle_of_a_push_it_goes_on(place: Place) -> None:
    """NocoBase works on with what it was sent; the service that comes back waits for that, and makes nobody twice."""
    root = await place.nocobase.root()
    await place.connect()

    async def some() -> bool:
        return len(await place.nocobase.people()) > 0

    for _ in range(2):
        await until(some, 60)
        place.service.kill()
        await place.service.start()
    await place.settled()
    assert await place.differences() == []
    assert len(await place.nocobase.people()) >= PEOPLE
    assert await place.nocobase.root() == root


async def test_while_nocobase_is_away_nothing_is_lost(place: Place) -> None:
    await place.connect()
    await place.settled()
    await up("--stop")
    company, ids = place.company, place.active
    for userid in ids[:10]:
        company.rename(userid, f"改名 {userid}")
    company.leave(ids[11])
    company.create_department("事业部", parent=1, id=9001)
    company.join("newcomer", "新人", (9001,))
    await place.sync()

    async def waits() -> bool:
        return (await place.target())["state"] == "retrying"

    await until(waits, 60)
    found = await place.target()
    assert found["last_error"]["code"] == "nocobase.unavailable"
    assert found["backlog"] >= 12
    await up("--again")
    await place.settled()
    assert await place.differences() == []
