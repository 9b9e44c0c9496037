"""A userid that changes: our id stays, and a row that a sweep made meanwhile is merged into it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.directory import WITHHELD, Membership, StoredUser, User
from app.core.plan import plan_gone_user, plan_rename, plan_user

from .directory_model import EVERYWHERE, Directory, apply_changes, read_user
from .strategies import numbers, ranges, reads_of, stored_users, users, withheld_names
from .test_plan_user import merged

OLD = StoredUser("usr_old", User("zhangsan", name="张三", mobile="1", memberships=(Membership(1),)), True, 10)
MADE = StoredUser("usr_made", User("zs", name="张三", mobile="1", memberships=(Membership(1), Membership(2))), True, 20)


def rename(old, new, desired, observed=100, readable=WITHHELD, in_range=EVERYWHERE):
    return plan_rename(old, new, desired, observed, readable=readable, in_range=in_range)


@st.composite
def renames(draw):
    """(the person under his old userid, a read of him under the new one)."""
    old = draw(stored_users(userid=st.just("zhangsan")))
    desired = draw(reads_of(old, name=st.sampled_from((old.value.name, None))))  # else he may be somebody else
    return replace(old, id="usr_old"), replace(desired, userid=draw(st.sampled_from(("zs", "ZS", "a:b"))))


@given(renames(), withheld_names, ranges)
def test_our_id_stays_and_takes_what_was_read(pair, readable, in_range):
    old, desired = pair
    changes = rename(old, None, desired, readable=readable, in_range=in_range)
    directory = apply_changes(Directory.of(old), changes)
    assert directory.holder("zhangsan") is None
    assert directory.holder(desired.userid).id == "usr_old"
    assert directory.users["usr_old"].value == merged(old.value, desired, readable, in_range)
    assert [(c.key, c.previous_key) for c in changes if c.action == "rename"] == [(desired.userid, "zhangsan")]
    assert read_user(directory, desired, 101, readable=readable, in_range=in_range)[1] == []


@given(renames(), stored_users(userid=st.sampled_from(("zs", "A:B"))))
def test_a_row_that_a_sweep_made_meanwhile_is_merged(pair, made):
    old, made = pair[0], replace(made, id="usr_made")
    desired = replace(pair[1], userid=made.value.key)
    changes = rename(old, made, desired)
    directory = apply_changes(Directory.of(old, made), changes)
    assert directory.holder(desired.userid).id == "usr_old"
    assert directory.retired == {"usr_made"}
    assert directory.users["usr_made"] == replace(
        made, value=replace(made.value, memberships=()), active=False, observed=100
    )
    assert directory.users["usr_old"].value == merged(old.value, desired, WITHHELD, EVERYWHERE)
    assert not any(c.guarded for c in changes if c.object_id == "usr_made")


def test_the_feed_tells_the_merge_before_the_rename():
    changes = rename(OLD, MADE, replace(MADE.value, position="p"))
    assert [(c.kind, c.action, c.key, c.object_id) for c in changes] == [
        ("membership", "remove", "zs:1", "usr_made"),
        ("membership", "remove", "zs:2", "usr_made"),
        ("user", "deactivate", "zs", "usr_made"),
        ("user", "rename", "zs", "usr_old"),
        ("user", "update", "zs", "usr_old"),
        ("membership", "create", "zs:2", "usr_old"),
    ]
    assert (changes[2].after, changes[2].reason) == ({"active": False, "merged_into": "usr_old"}, "renamed")
    assert (changes[3].before, changes[3].after) == ({"userid": "zhangsan"}, {"userid": "zs"})


@given(renames(), st.none() | stored_users(userid=st.just("zs")), numbers)
def test_an_older_rename_does_nothing(pair, made, observed):
    old, desired = pair
    known = max(old.observed, made.observed if made else 0)
    assert bool(rename(old, made, replace(desired, userid="zs"), observed)) == (observed > known)


@pytest.mark.parametrize("observed", [10, 15, 20])
def test_a_rename_older_than_the_new_row_does_nothing(observed):
    assert rename(OLD, MADE, MADE.value, observed) == []


def test_a_late_rename_brings_back_whom_a_sweep_counted_as_gone():
    directory, _ = read_user(Directory.of(OLD), MADE.value, 30)
    directory = apply_changes(directory, plan_gone_user(OLD, 31))
    old, made = directory.users["usr_old"], directory.holder("zs")
    assert (old.active, made.active) == (False, True)
    directory = apply_changes(directory, rename(old, made, MADE.value))
    assert directory.holder("zs") == replace(OLD, value=MADE.value, observed=100)
    assert [u.id for u in directory.users.values() if u.active] == ["usr_old"]


def test_a_rename_replayed_does_nothing():
    directory = apply_changes(Directory.of(OLD, MADE), rename(OLD, MADE, MADE.value))
    assert directory.holder("zhangsan") is None  # nobody is left whom it could rename
    assert read_user(directory, MADE.value, 101)[1] == []


def test_whoever_left_does_not_become_somebody_else_by_a_rename():
    """Somebody took the userid of one who left and was renamed before anybody read him."""
    gone = replace(OLD, value=replace(OLD.value, memberships=()), active=False)
    other = User("zs", name="李四", mobile="2", memberships=(Membership(1),))
    directory = apply_changes(Directory.of(gone), rename(gone, None, other))
    assert directory.users["usr_old"] == gone
    assert directory.holder("zs").value == other
    assert [(c.action, c.object_id) for c in rename(gone, replace(MADE, value=other), replace(other, name="n"))] == [
        ("update", "usr_made")
    ]
    assert rename(gone, replace(MADE, value=other), replace(other, name="n"), 20) == []


@given(renames())
def test_the_rest_is_planned_and_guarded_as_in_any_read(pair):
    old, desired = pair
    renamed = replace(old, value=replace(old.value, userid=desired.userid))
    first, *others = rename(old, None, desired)
    assert (first.action, first.guarded) == ("rename", None)
    assert others == plan_user(renamed, desired, 100, readable=WITHHELD, in_range=EVERYWHERE)


@given(stored_users(userid=st.just("zhangsan")), users(userid=st.sampled_from(("ZhangSan", "ZHANGSAN"))))
def test_a_change_of_case_alone_is_no_rename(existing, desired):
    directory, changes = read_user(Directory.of(existing), replace(desired, name=None), 100)
    assert not any(c.action == "rename" for c in changes)
    assert directory.users[existing.id].value.userid == desired.userid
    assert sum(1 for c in changes if "userid" in c.after) == 1
