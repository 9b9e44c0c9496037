"""Hashes by which a sweep leaves alone whoever did not change, and finds everybody who did."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.core.directory import DEPARTMENT_FIELDS, ORDINARY_FIELDS, WITHHELD, Department, Membership, User
from app.core.fingerprint import department_hash, user_hash, withheld_hashes
from app.core.plan import plan_department

from .directory_model import EVERYWHERE, Directory, apply_changes, read_user
from .strategies import FIELDS, department_ids, department_pairs, departments, maybe, texts, users, withheld_names

FULL = User(
    "ZhangSan",
    name="张三",
    alias="",
    position="工程师 𠮷",
    status=1,
    mobile="13800000000",
    gender="0",
    telephone="020",
    direct_leaders=("lisi",),
    main_department_id=2**63 - 1,
    extattrs=({"type": 0, "name": "工号", "text": {"value": "7"}},),
    memberships=(Membership(1, 2**32 - 1, True), Membership(2)),
)

storable = texts.filter(lambda text: text != "0") | st.text(st.characters(exclude_categories=("Cs",)), min_size=2)


def reordered(value):
    """The same JSON value with the keys of its objects the other way round."""
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return tuple(map(reordered, value)) if isinstance(value, tuple) else value


@st.composite
def near(draw):
    """A person and a second read of him that differs in a few fields, or none."""
    user = draw(users())
    names = draw(st.sets(st.sampled_from((*FIELDS, "userid")), max_size=2))
    other = draw(users())
    return user, replace(user, **{name: getattr(other, name) for name in names})


@given(users())
def test_equal_people_have_equal_hashes(user):
    same = replace(user, extattrs=reordered(user.extattrs))
    assert user_hash(same) == user_hash(user)
    assert withheld_hashes(same) == withheld_hashes(user)
    assert len(user_hash(user)) == 24


@given(users(), st.sampled_from(("userid", *ORDINARY_FIELDS, "memberships")), st.data())
def test_any_difference_in_an_ordinary_field_is_seen(user, name, data):
    value = data.draw(maybe(FIELDS[name]) if name in FIELDS else st.sampled_from(("x", user.userid.swapcase())))
    assert (user_hash(replace(user, **{name: value})) == user_hash(user)) == (value == getattr(user, name))


@given(users(), st.sampled_from(ORDINARY_FIELDS), st.sampled_from(ORDINARY_FIELDS))
def test_a_value_in_another_field_is_a_difference(user, one, other):
    assume(getattr(user, one) != getattr(user, other))
    swapped = replace(user, **{one: getattr(user, other), other: getattr(user, one)})
    assert user_hash(swapped) != user_hash(user)


@given(users(), users())
def test_withheld_fields_do_not_touch_the_ordinary_hash(user, other):
    assert user_hash(replace(user, **{name: getattr(other, name) for name in WITHHELD})) == user_hash(user)
    assert withheld_hashes(replace(other, **{name: getattr(user, name) for name in WITHHELD})) == withheld_hashes(user)


@given(users())
def test_each_withheld_field_has_a_hash_of_its_own(user):
    hashes = withheld_hashes(user)
    assert list(hashes) == [f"hash_{name}" for name in WITHHELD]
    for name in WITHHELD:
        value = getattr(user, name)
        empty = value == "" or (name == "gender" and value == "0")
        found = hashes[f"hash_{name}"]
        assert found == (None if value is None else "" if empty else found)
        assert empty or value is None or len(found) == 24


@given(st.sampled_from(WITHHELD), storable, storable)
def test_withheld_values_that_differ_have_different_hashes(name, one, other):
    hashes = [withheld_hashes(User("a", **{name: value}))[f"hash_{name}"] for value in (one, other)]
    assert (hashes[0] == hashes[1]) == (one == other)


@given(near(), withheld_names)
def test_whoever_would_change_is_found(pair, readable):
    """What a sweep counts on: where no hash differs, the plan is empty."""
    first, second = pair
    directory, _ = read_user(Directory(), first, 1, readable=readable)
    if second.key == first.key:
        _, changes = read_user(directory, second, 2, readable=readable, in_range=EVERYWHERE)
        assert not changes or differs(first, second, readable) or {first.gender, second.gender} == {"", "0"}


def differs(first, second, readable):
    before, after = withheld_hashes(first), withheld_hashes(second)
    names = [f"hash_{name}" for name in readable]
    return user_hash(first) != user_hash(second) or any(after[n] is not None and before[n] != after[n] for n in names)


@pytest.mark.parametrize(
    "change",
    [
        {"userid": "zhangsan"},
        {"alias": None},
        {"extattrs": ()},
        {"extattrs": None},
        {"direct_leaders": None},
        {"direct_leaders": ("Lisi",)},
        {"memberships": None},
        {"memberships": ()},
        {"memberships": (Membership(1, 2**32 - 1, True),)},
        {"memberships": (Membership(1, 2**32 - 2, True), Membership(2))},
        {"memberships": (Membership(1, 2**32 - 1, False), Membership(2))},
        {"main_department_id": 2**63 - 2},
        {"status": 5},
    ],
)
def test_nothing_is_too_small_to_be_seen(change):
    assert user_hash(replace(FULL, **change)) != user_hash(FULL)


def test_hashes_stay_the_same_over_versions():
    """Otherwise the first sweep of a new version would take a million people out of the database."""
    assert user_hash(FULL) == "0d289d16c9d65b4889ba4b94"
    assert department_hash(Department(2, "研发", None, 1, 2**32 - 1, ("lisi",))) == "4a3779a6cf2df606f8450347"
    assert withheld_hashes(FULL) == {
        "hash_mobile": "0e8b07566a7982175303485a",
        "hash_email": None,
        "hash_biz_mail": None,
        "hash_gender": "",
        "hash_avatar": None,
        "hash_address": None,
    }


@given(departments(parent=maybe(department_ids)), st.sampled_from(DEPARTMENT_FIELDS), departments())
def test_any_difference_of_a_department_is_seen(department, name, other):
    changed = replace(department, **{name: getattr(other, name)})
    assert (department_hash(changed) == department_hash(department)) == (changed == department)


def test_a_parent_that_comes_into_sight_is_a_difference():
    assert department_hash(Department(2, "n", parent_id=1)) != department_hash(Department(2, "n"))


@given(department_pairs())
def test_a_department_that_would_change_is_found(pair):
    first, second = pair[0].value, pair[1]
    directory = apply_changes(Directory(), plan_department(None, first, 1))
    changes = plan_department(directory.departments[first.department_id], second, 2)
    assert not changes or department_hash(second) != department_hash(first)
