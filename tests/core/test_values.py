"""Names and keys: what counts as the same object."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.directory import (
    DEPARTMENT_FIELDS,
    ORDINARY_FIELDS,
    USER_FIELDS,
    WITHHELD,
    Change,
    Department,
    User,
    key_of,
    object_of,
)
from app.core.ids import ALPHABET, new_id

from .strategies import USERIDS, spellings


@given(st.sampled_from(USERIDS).flatmap(lambda userid: st.tuples(spellings(userid), spellings(userid))))
def test_userids_are_compared_without_regard_to_case(pair):
    assert key_of(pair[0]) == key_of(pair[1]) == User(pair[0]).key


@given(st.text())
def test_a_key_is_its_own_key(text):
    assert key_of(key_of(text)) == key_of(text)


def test_every_field_is_either_ordinary_or_withheld():
    assert set(ORDINARY_FIELDS) | set(WITHHELD) == set(USER_FIELDS)
    assert len(ORDINARY_FIELDS) + len(WITHHELD) == len(USER_FIELDS)
    assert set(User.__slots__) - set(USER_FIELDS) == {"userid", "memberships"}
    assert set(Department.__slots__) - set(DEPARTMENT_FIELDS) == {"department_id"}


@pytest.mark.parametrize(("status", "left"), [(1, False), (2, False), (4, False), (5, True), (9, False), (None, False)])
def test_only_status_five_has_left(status, left):
    assert User("a", status=status).left == left


@pytest.mark.parametrize(
    ("kind", "key", "found"),
    [
        ("department", "7", ("department", "7")),
        ("user", "ZhangSan", ("user", "zhangsan")),
        ("membership", "ZhangSan:7", ("user", "zhangsan")),
        ("membership", "a:1:7", ("user", "a:1")),
        ("user", "a:1", ("user", "a:1")),
    ],
)
def test_a_membership_belongs_to_its_user(kind, key, found):
    assert object_of(Change(kind, "update", key, {}, {}, 1)) == found


def test_ids_name_their_noun_and_sort_by_the_time_they_were_made():
    ids = [new_id("usr") for _ in range(2000)]
    assert ids == sorted(set(ids))
    assert all(id_.startswith("usr_") and set(id_[4:]) <= set(ALPHABET) and len(id_) == 30 for id_ in ids)


def test_ids_are_distinct_over_threads():
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.extend(new_id("dep") for _ in range(500))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 4000


def test_ids_go_on_growing_when_the_clock_goes_back(monkeypatch):
    before = new_id("run")
    monkeypatch.setattr("app.core.ids.time.time_ns", lambda: 0)
    assert before < new_id("run") < new_id("run")
