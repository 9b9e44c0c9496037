"""What a read of one person changes: all that was read and nothing else."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.core.directory import USER_FIELDS, WITHHELD, Membership, StoredUser, User
from app.core.plan import blank, hide, plan_user

from .directory_model import EVERYWHERE, Directory, apply_changes, read_user
from .strategies import (
    DEPARTMENTS,
    SINCE,
    memberships,
    numbers,
    pairs,
    ranges,
    reads_of,
    stored_users,
    userids,
    users,
    whole_users,
    withheld_names,
)

OBSERVED = 100


def plan(existing, desired, observed=OBSERVED, readable=WITHHELD, in_range=EVERYWHERE):
    return plan_user(existing, desired, observed, readable=readable, in_range=in_range)


def merged(held, seen, readable, in_range):
    """What we should hold after a read: what was read where it says something, else what we held."""
    said = {
        name: getattr(seen, name)
        for name in USER_FIELDS
        if getattr(seen, name) is not None and (name not in WITHHELD or name in readable)
    }
    seats = held.memberships
    if seen.memberships is not None:
        read = {seat.department_id for seat in seen.memberships}
        frozen = [s for s in held.memberships if s.department_id not in in_range and s.department_id not in read]
        seats = tuple(sorted([*seen.memberships, *frozen]))
    return replace(held, userid=seen.userid, memberships=seats, **said)


def same_person(existing, desired):
    """The desired record under the name that we hold: then it is nobody else."""
    return replace(desired, name=existing.value.name)


def held(**values):
    return StoredUser("usr_held", User(**({"userid": "zhangsan", "memberships": ()} | values)), True, 1)


def actions(changes):
    return [(change.kind, change.action, dict(change.after)) for change in changes]


@given(pairs(), withheld_names, ranges)
def test_a_read_carried_out_gives_what_was_read_and_keeps_the_rest(pair, readable, in_range):
    existing, desired = pair[0], same_person(*pair)
    changes = plan(existing, desired, readable=readable, in_range=in_range)
    after = apply_changes(Directory.of(existing), changes).users[existing.id]
    assert after.value == merged(existing.value, desired, readable, in_range)
    assert after.unmanaged_since is None
    came_back = desired.status is not None or not existing.value.left
    assert after.active == (not desired.left and (existing.active or came_back))


@given(users(), withheld_names, ranges)
def test_somebody_new_is_held_as_read(desired, readable, in_range):
    directory, changes = read_user(Directory(), desired, OBSERVED, readable=readable, in_range=in_range)
    found = directory.holder(desired.userid)
    nobody = User(desired.userid, memberships=())
    assert found.value == merged(nobody, desired, readable, in_range)
    assert (found.active, found.observed, found.unmanaged_since) == (not desired.left, OBSERVED, None)
    assert {change.action for change in changes} == {"create"}
    assert not any(change.guarded for change in changes)
    assert set(changes[0].after) == {*USER_FIELDS, "active"}


@given(stored_users(), st.integers(OBSERVED, 2**62))
def test_a_plan_of_equals_is_empty(existing, observed):
    existing = replace(existing, active=not existing.value.left, unmanaged_since=None)
    assert plan(existing, existing.value, observed) == []


@given(pairs(), withheld_names, ranges)
def test_reading_the_same_again_changes_nothing(pair, readable, in_range):
    existing, desired = pair
    directory, _ = read_user(Directory.of(existing), desired, OBSERVED, readable=readable, in_range=in_range)
    again, changes = read_user(directory, desired, OBSERVED + 1, readable=readable, in_range=in_range)
    assert changes == []
    assert again.holder(desired.userid) == replace(directory.holder(desired.userid), observed=OBSERVED + 1)


@given(pairs(), numbers)
def test_an_older_or_equally_old_read_changes_nothing(pair, observed):
    existing, desired = pair
    assume(observed <= existing.observed)
    assert plan(existing, desired, observed) == []


def test_one_number_newer_is_newer():
    existing, desired = held(name="before"), User("zhangsan", name="after")
    assert plan(existing, desired, observed=1) == []
    assert actions(plan(existing, desired, observed=2)) == [("user", "update", {"name": "after"})]


@given(stored_users(), ranges)
def test_a_read_that_says_nothing_changes_nothing(existing, in_range):
    existing = replace(existing, active=not existing.value.left, unmanaged_since=None)
    assert plan(existing, User(existing.value.userid), in_range=in_range) == []


@given(pairs(), withheld_names)
def test_unreadable_fields_never_change_anything(pair, readable):
    existing, desired = pair[0], same_person(*pair)
    changes = plan(existing, desired, readable=readable)
    assert not {name for change in changes for name in change.after} & (set(WITHHELD) - readable)
    without = replace(desired, **dict.fromkeys(set(WITHHELD) - readable))
    assert changes == plan(existing, without, readable=WITHHELD)
    assert hide(desired, readable) == without


@given(stored_users(userid=st.just("zhangsan")), users(userid=st.just("zhangsan")), withheld_names)
def test_what_is_unreadable_does_not_make_him_somebody_else(existing, desired, readable):
    hidden = {name: "another" for name in WITHHELD if name not in readable}
    changed = plan(existing, replace(desired, **hidden), readable=readable)
    assert changed == plan(existing, desired, readable=readable)


@given(st.permutations(DEPARTMENTS), st.data())
def test_the_order_of_people_and_of_their_memberships_does_not_matter(order, data):
    people = [data.draw(stored_users(userid=st.just(name))) for name in ("anna", "bo", "chen")]
    directory = Directory.of(*(replace(person, id=f"usr_{person.value.userid}") for person in people))
    reads = [data.draw(reads_of(person)) for person in people] + [data.draw(users(userid=st.just("dan")))]
    shuffled = [
        read if read.memberships is None
        else replace(read, memberships=tuple(sorted(read.memberships, key=lambda s: order.index(s.department_id))))
        for read in data.draw(st.permutations(reads))
    ]  # fmt: skip
    one, other = directory, directory
    for read in reads:
        one, _ = read_user(one, read, OBSERVED)
    for read in shuffled:
        other, _ = read_user(other, read, OBSERVED)
    assert one == other


@given(
    stored_users(userid=st.just("zhangsan")),
    st.lists(whole_users(userid=st.just("zhangsan"), name=st.just("张三")), min_size=1, max_size=4),
    st.data(),
)
def test_whichever_way_reads_arrive_the_newest_counts(existing, reads, data):
    existing = replace(existing, value=replace(existing.value, name="张三"), observed=0)
    numbered = list(enumerate(reads, start=1))
    directory = Directory.of(existing)
    for observed, desired in data.draw(st.permutations(numbered)):
        directory, _ = read_user(directory, desired, observed)
    found = directory.users[existing.id]
    assert found.value == reads[-1]
    assert (found.active, found.observed) == (not reads[-1].left, len(reads))


@given(pairs(), withheld_names, ranges)
def test_every_field_is_in_one_change_only(pair, readable, in_range):
    changes = plan(*pair, readable=readable, in_range=in_range)
    names = [(c.object_id, name) for c in changes if c.kind == "user" for name in c.after]
    seats = [(c.object_id, c.key) for c in changes if c.kind == "membership"]
    assert len(names) == len(set(names))
    assert len(seats) == len(set(seats))


@given(pairs(), withheld_names, ranges)
def test_whatever_destroys_is_guarded_and_the_rest_is_not(pair, readable, in_range):
    existing, desired = pair[0], same_person(*pair)
    for change in plan(existing, desired, readable=readable, in_range=in_range):
        if change.kind == "user":
            cleared = [name for name, new in change.after.items() if blank(name, new)]
            lost = [
                name for name in cleared if change.before[name] is not None and not blank(name, change.before[name])
            ]
            assert (change.guarded == "blank") == bool(lost)
            assert not lost or set(lost) == set(change.after)
            assert (change.guarded == "deactivate") == (change.after.get("active") is False)
            assert change.guarded != "membership" or set(change.after) == {"main_department_id"}
        if change.action == "remove":
            assert change.guarded == "membership"


@pytest.mark.parametrize("name", ["name", "alias", "position", "telephone", *WITHHELD])
def test_empty_clears_and_is_guarded_as_blank(name):
    existing = held(**{name: "1"})
    assert plan(existing, User("zhangsan")) == []
    change = plan(existing, User("zhangsan", **{name: ""}))[0]
    assert (change.action, change.guarded, change.before, change.after) == ("update", "blank", {name: "1"}, {name: ""})
    assert (change.key, change.object_id, change.observed) == ("zhangsan", "usr_held", OBSERVED)


@pytest.mark.parametrize(
    ("name", "value"),
    [("direct_leaders", ("lisi",)), ("extattrs", ({"type": 0, "name": "n", "text": {"value": "v"}},))],
)
def test_an_emptied_list_is_guarded_as_blank(name, value):
    change = plan(held(**{name: value}), User("zhangsan", **{name: ()}))[0]
    assert (change.guarded, change.before, change.after) == ("blank", {name: list(value)}, {name: []})


@pytest.mark.parametrize("nothing", [None, "", "0"])
def test_an_undefined_gender_is_an_empty_one(nothing):
    assert plan(held(gender="1"), User("zhangsan", gender="0"))[0].guarded == "blank"
    assert plan(held(gender="1"), User("zhangsan", gender=""))[0].guarded == "blank"
    assert all(c.guarded is None for c in plan(held(gender=nothing), User("zhangsan", gender="0")))
    assert all(c.guarded is None for c in plan(held(gender="1"), User("zhangsan", gender="2")))
    assert plan(held(telephone="0"), User("zhangsan", telephone=""))[0].guarded == "blank"


def test_clearing_and_changing_at_once_is_two_changes():
    changes = plan(held(alias="a", position="p"), User("zhangsan", alias="", position="q", telephone=""))
    assert [(c.guarded, dict(c.after)) for c in changes] == [
        ("blank", {"alias": ""}),
        (None, {"position": "q", "telephone": ""}),
    ]


def test_another_spelling_of_the_userid_is_an_update():
    changes = plan(held(), User("ZhangSan", memberships=(Membership(1),)))
    assert actions(changes) == [
        ("user", "update", {"userid": "ZhangSan"}),
        ("membership", "create", {"department_id": 1, "order": 0, "is_leader": False}),
    ]
    assert changes[0].before == {"userid": "zhangsan"}
    assert [change.object_id for change in changes] == ["usr_held", "usr_held"]


def test_whoever_is_seen_again_is_managed_again():
    existing = replace(held(), unmanaged_since=SINCE)
    change = plan(existing, User("zhangsan"))[0]
    assert (change.action, change.guarded) == ("update", None)
    assert (change.before, change.after) == ({"unmanaged_since": SINCE.isoformat()}, {"unmanaged_since": None})


class TestMemberships:
    """Ended only where the read can see; kept whole or lost whole."""

    @given(stored_users(), memberships, ranges)
    def test_they_end_only_where_the_read_can_see(self, existing, read, in_range):
        changes = plan(existing, User(existing.value.userid, memberships=read), in_range=in_range)
        ended = {change.before["department_id"] for change in changes if change.action == "remove"}
        mine, his = ({s.department_id for s in seats} for seats in (existing.value.memberships, read))
        assert ended == (mine - his) & in_range

    @given(pairs(), ranges)
    def test_a_set_that_shrinks_is_guarded_whole(self, pair, in_range):
        changes = plan(pair[0], same_person(*pair), in_range=in_range)
        shrinks = any(change.action == "remove" for change in changes)
        for change in changes:
            if change.kind == "membership" or "main_department_id" in change.after:
                assert change.guarded == ("membership" if shrinks else None)

    @given(pairs(), st.sets(st.sampled_from(("membership", "deactivate", "blank")), min_size=1), ranges)
    def test_what_is_withheld_is_planned_again_and_nothing_else(self, pair, kinds, in_range):
        existing, desired = pair[0], same_person(*pair)
        changes = plan(existing, desired, in_range=in_range)
        withheld = [change for change in changes if change.guarded in kinds]
        allowed = [change for change in changes if change.guarded not in kinds]
        after = apply_changes(Directory.of(existing), allowed).users[existing.id]
        again = plan(after, desired, OBSERVED + 1, in_range=in_range)
        assert again == [replace(change, observed=OBSERVED + 1) for change in withheld]

    def test_a_move_is_one_guarded_set(self):
        existing = held(memberships=(Membership(1), Membership(2, 5)), main_department_id=1, position="p")
        desired = User("zhangsan", memberships=(Membership(2, 6, True), Membership(3)), main_department_id=3, name="n")
        changes = plan(existing, desired)
        assert [(c.kind, c.action, c.key, c.guarded) for c in changes] == [
            ("user", "update", "zhangsan", "membership"),
            ("user", "update", "zhangsan", None),
            ("membership", "create", "zhangsan:3", "membership"),
            ("membership", "update", "zhangsan:2", "membership"),
            ("membership", "remove", "zhangsan:1", "membership"),
        ]
        assert changes[0].after == {"main_department_id": 3}
        assert changes[3].before == {"department_id": 2, "order": 5, "is_leader": False}
        assert changes[3].after == {"department_id": 2, "order": 6, "is_leader": True}
        assert changes[4].after == {}

    def test_order_and_leadership_alone_are_unguarded_updates(self):
        existing = held(memberships=(Membership(1), Membership(2), Membership(3)), main_department_id=1)
        read = (Membership(1, 2**32 - 1), Membership(2, 0, True), Membership(3))
        changes = plan(existing, User("zhangsan", memberships=read, main_department_id=2))
        assert [(c.action, c.key, c.guarded) for c in changes] == [
            ("update", "zhangsan", None),
            ("update", "zhangsan:1", None),
            ("update", "zhangsan:2", None),
        ]

    def test_one_who_only_joins_loses_nothing(self):
        changes = plan(held(memberships=(Membership(1),)), User("zhangsan", memberships=(Membership(1), Membership(2))))
        assert [(c.action, c.key, c.guarded) for c in changes] == [("create", "zhangsan:2", None)]

    def test_read_and_empty_ends_all_unread_none(self):
        existing = held(memberships=(Membership(1), Membership(2)))
        assert plan(existing, User("zhangsan", memberships=None)) == []
        assert {c.action for c in plan(existing, User("zhangsan", memberships=()))} == {"remove"}
        assert plan(existing, User("zhangsan", memberships=()), in_range=frozenset()) == []

    def test_a_frozen_one_ends_when_its_department_comes_into_sight_without_him(self):
        existing, read = (
            held(memberships=(Membership(1), Membership(2))),
            User("zhangsan", memberships=(Membership(1),)),
        )
        assert plan(existing, read, in_range={1}) == []
        assert [(c.action, c.key) for c in plan(existing, read, in_range={1, 2})] == [("remove", "zhangsan:2")]

    def test_a_userid_may_hold_a_colon(self):
        existing = StoredUser("usr_held", User("a:1", memberships=(Membership(2),)), True, 1)
        directory = apply_changes(Directory.of(existing), plan(existing, User("a:1", memberships=(Membership(1),))))
        assert directory.users["usr_held"].value.memberships == (Membership(1),)


@given(userids, whole_users())
def test_a_read_leaves_the_values_it_was_given_alone(userid, desired):
    existing = StoredUser("usr_held", User(userid, memberships=()), True, 1)
    before = repr((existing, desired))
    plan(existing, replace(desired, userid=userid))
    assert repr((existing, desired)) == before
