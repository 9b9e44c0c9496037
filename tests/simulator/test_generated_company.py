"""The generator: the same company for the same seed, with all that a real one has."""

import re
from collections import Counter

import pytest

from app.simulator import generate_company


@pytest.fixture(scope="module")
def large():
    return generate_company(5000, 300, seed=7)


def test_the_same_seed_makes_the_same_company(large):
    again = generate_company(5000, 300, seed=7)
    assert again.truth(again.app) == large.truth(large.app)
    assert (again.corp_id, again.app.secret) == (large.corp_id, large.app.secret)
    assert generate_company(10, 3, seed=8).corp_id != large.corp_id


def test_credentials_look_like_wecoms(large):
    assert re.fullmatch(r"ww[0-9a-f]{16}", large.corp_id)
    assert large.app.agent_id == 1000002
    for credential in (large.app, large.contacts):
        assert re.fullmatch(r"[A-Za-z0-9]{43}", credential.secret)


def test_sizes_are_as_asked(large):
    assert (len(large.records.users), len(large.records.departments)) == (5000, 300)
    for users, departments in ((0, 1), (1, 1), (3, 40)):
        company = generate_company(users, departments)
        assert (len(company.records.users), len(company.records.departments)) == (users, departments)


@pytest.mark.parametrize(("users", "departments"), [(-1, 1), (1, 0), (1_000_001, 100), (1, 30_001), (20_001, 1)])
def test_impossible_sizes_are_refused(users, departments):
    with pytest.raises(ValueError, match="at most"):
        generate_company(users, departments)


def test_the_tree_has_one_root_and_reaches_fifteen_levels(large):
    records = large.records
    assert [one.id for one in records.departments.values() if one.parent == 0] == [1]
    assert len(records.below([1])) == 300
    assert max(records.level(id) for id in records.departments) == 15
    for id, children in records.children.items():
        names = [records.departments[child].name for child in children]
        assert len(set(names)) == len(names), id
        orders = [records.departments[child].order for child in children]
        assert orders == [100_000_000 - 1000 * place for place in range(len(orders))]


def test_people_are_as_mixed_as_in_life(large):
    people = list(large.records.users.values())
    assert {user.status for user in people} == {1, 2, 4, 5}
    assert Counter(len(user.memberships) for user in people).keys() >= {1, 2, 3}
    assert any(user.main_department is None for user in people)
    assert any(user.direct_leaders for user in people)
    assert {attr["type"] for user in people for attr in user.extattrs} == {0, 1}
    assert any(ord(letter) > 0xFFFF for user in people for letter in user.name)
    assert any(user.userid != user.key for user in people)
    assert {user.gender for user in people} == {"0", "1", "2"}
    assert sum(map(len, large.records.leaders.values())) > 200


def test_what_must_be_unique_is_and_what_is_named_exists(large):
    people = list(large.records.users.values())
    for name in ("key", "mobile", "biz_mail"):
        assert len({getattr(user, name) for user in people}) == 5000
    for user in people:
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_\-@.]{0,63}", user.userid)
        assert all(large.records.user(superior) for superior in user.direct_leaders)
        assert len(set(user.departments)) == len(user.departments)
        assert all(0 <= place.order < 2**32 for place in user.memberships)
