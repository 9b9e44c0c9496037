"""How much may be destroyed without asking, to the last person."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from app.core.directory import Change, Membership, StoredUser, User
from app.core.guard import COUNTED, Limit, Loss, Policy, Trip, destroyed, digest, judge, trips
from app.core.plan import plan_gone_user, plan_user

from .directory_model import EVERYWHERE
from .strategies import pairs, stored_users

KINDS = ("deactivate", "department", "membership", "blank")
counts = st.integers(0, 2000)
limits = st.builds(Limit, st.integers(0, 100) | st.floats(0, 100), st.integers(0, 1000), st.integers(0, 100))
losses = st.builds(Loss, st.sampled_from(KINDS), counts, counts, recent=st.integers(0, 50))
marks = st.frozensets(st.tuples(st.sampled_from(("user", "membership")), st.text(max_size=3), st.text(max_size=3)))


def change(action="deactivate", guarded="deactivate", *, kind="user", key="ZhangSan", after=None):
    return Change(kind, action, key, {}, after or {}, 1, "usr_1", guarded=guarded)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("lost", "existing", "tripped"),
    [
        # per cent: 10 of 100 is allowed
        (9, 100, False), (10, 100, False), (11, 100, True),
        # count: 500 of 10,000 is allowed
        (499, 10_000, False), (500, 10_000, False), (501, 10_000, True),
        # both at once
        (500, 5000, False), (501, 5010, True),
        # the floor: with 20 per cent counts, with 19 only all of them
        (2, 20, False), (3, 20, True), (3, 19, False), (18, 19, False), (19, 19, True),
        (0, 0, False), (0, 1, False), (0, 1000, False), (1, 2, False), (2, 2, True),
        (20, 20, True), (1000, 1000, True),
    ],
)  # fmt: skip
def test_just_below_at_and_above_the_defaults(kind, lost, existing, tripped):
    assert trips(Loss(kind, lost, existing), Limit()) == tripped


@pytest.mark.parametrize("kind", KINDS)
def test_the_only_one_of_a_kind_is_not_lost_quietly_but_one_may_clear_the_only_value(kind):
    assert trips(Loss(kind, 1, 1), Limit()) == (kind != "blank")
    assert trips(Loss(kind, 2, 2), Limit())


@pytest.mark.parametrize("limit", [Limit(0, 0, 0), Limit(0, 500, 0), Limit(100, 0, 0)])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_may_be_lost_where_nothing_is_allowed(kind, limit):
    assert trips(Loss(kind, 1, 1_000_000), limit)
    assert not trips(Loss(kind, 0, 1_000_000, recent=5), limit)


@given(
    st.sampled_from(KINDS), st.integers(1, 300), counts, st.integers(0, 50), st.integers(0, 100), st.integers(0, 200)
)
def test_from_the_floor_on_both_limits_hold(kind, lost, existing, recent, percent, count):
    limit = Limit(percent, count, min(existing + recent, 20))
    over = lost + recent > count or (lost + recent) * 100 > percent * (existing + recent)
    assert trips(Loss(kind, lost, existing, recent=recent), limit) == over


@given(st.sampled_from(KINDS), st.integers(2, 100), st.integers(1, 60), st.integers(0, 39), limits)
def test_below_the_floor_only_losing_all_trips(kind, lost, existing, recent, limit):
    limit = replace(limit, floor=max(limit.floor, existing + recent + 1))
    assert trips(Loss(kind, lost, existing, recent=recent), limit) == (lost >= existing)


@given(st.integers(0, 10_000), st.integers(20, 1_000_000), st.integers(-1, 1))
@example(230, 3000, 0)
def test_a_limit_with_decimals_is_met_exactly(hundredths, existing, off):
    share = Fraction(hundredths, 10_000) * existing
    lost = share.numerator // share.denominator + off
    assume(lost > 0)
    assert trips(Loss("deactivate", lost, existing), Limit(hundredths / 100, 10**9, 20)) == (lost > share)


@given(losses, limits)
def test_losing_more_never_passes_where_losing_less_did_not(loss, limit):
    more = Loss(loss.kind, loss.lost + 1, loss.existing, recent=loss.recent)
    assert trips(more, limit) or not trips(loss, limit)


@given(losses, limits, limits)
def test_a_looser_limit_never_stops_what_a_stricter_one_allows(loss, one, other):
    loose, strict = (
        Limit(pick(one.max_percent, other.max_percent), pick(one.max_count, other.max_count), one.floor)
        for pick in (max, min)
    )
    assert trips(loss, strict) or not trips(loss, loose)


def test_what_was_lost_lately_counts_too():
    assert not trips(Loss("deactivate", 4, 94, recent=6), Limit())
    assert trips(Loss("deactivate", 5, 94, recent=6), Limit())
    assert not trips(Loss("deactivate", 1, 4000, recent=499), Limit(100, 500, 20))
    assert trips(Loss("deactivate", 2, 4000, recent=499), Limit(100, 500, 20))
    assert trips(Loss("blank", 1, 1, "mobile", recent=1), Limit())
    assert trips(Loss("department", 2, 19, recent=1), Limit()) is True
    assert trips(Loss("department", 2, 18, recent=1), Limit()) is False


class TestPolicy:
    def test_what_is_left_out_has_its_default(self):
        assert Policy.of({}) == Policy(Limit(10, 500, 20), {})
        assert Policy.of({"max_percent": None, "kinds": None}) == Policy.of({"kinds": {}}) == Policy()
        assert Policy.of({"max_percent": 0}).limit("blank") == Limit(0, 500, 20)

    def test_a_kind_has_its_own_and_takes_the_rest_from_the_guard(self):
        policy = Policy.of({"max_count": 7, "floor": 3, "kinds": {"blank": {"max_count": 0}, "department": {}}})
        assert policy.limit("blank") == Limit(10, 0, 3)
        assert policy.limit("department") == policy.limit("deactivate") == policy.limit("membership") == Limit(10, 7, 3)

    def test_each_loss_is_judged_by_its_kind(self):
        policy = Policy.of({"max_percent": 50, "kinds": {"blank": {"max_percent": 1}}})
        allowed, phones, seats = (
            Loss("deactivate", 5, 100),
            Loss("blank", 5, 100, "mobile"),
            Loss("membership", 51, 100),
        )
        nothing = Loss("department", 0, 0)
        assert judge([allowed, phones, nothing, seats], policy) == [
            Trip(phones, Limit(1, 500, 20)),
            Trip(seats, Limit(50, 500, 20)),
        ]
        assert judge([allowed, nothing], policy) == judge([], policy) == []

    @given(st.lists(losses), limits)
    def test_exactly_what_trips_is_told(self, found, limit):
        assert [trip.loss for trip in judge(found, Policy(limit))] == [loss for loss in found if trips(loss, limit)]


@pytest.mark.parametrize(
    ("kind", "name", "what"),
    [
        ("deactivate", None, "deactivate 3 of 20 people"),
        ("department", None, "remove 3 of 20 departments"),
        ("membership", None, "remove 3 of 20 memberships"),
        ("blank", "mobile", "remove 3 of 20 values of mobile"),
    ],
)
def test_a_trip_says_what_would_be_lost(kind, name, what):
    trip = Trip(Loss(kind, 3, 20, name), Limit(12.5, 500, 20))
    assert trip.message == f"The plan would {what} (limit: 12.5 % or 500)."


class TestDestroyed:
    @pytest.mark.parametrize(
        ("one", "found"),
        [
            (change(), [("user", "deactivate", "zhangsan")]),
            (change("remove", "department", kind="department", key="7"), [("department", "remove", "7")]),
            (change("remove", "membership", kind="membership", key="A:7"), [("membership", "remove", "a:7")]),
            (
                change("update", "blank", after={"mobile": "", "email": ""}),
                [("user", "blank:mobile", "zhangsan"), ("user", "blank:email", "zhangsan")],
            ),
            # what only shares the fate of a guarded change is not counted
            (change("remove", "deactivate", kind="membership", key="A:7"), []),
            (change("create", "membership", kind="membership", key="A:7"), []),
            (change("update", "membership", kind="membership", key="A:7"), []),
            (change("update", "membership", after={"main_department_id": 1}), []),
            # nor what is not guarded
            (change("deactivate", None), []),
            (change("update", None, after={"mobile": ""}), []),
        ],
    )
    def test_what_one_change_destroys(self, one, found):
        assert list(destroyed(one)) == found

    @given(stored_users(), pairs())
    def test_every_guarded_loss_of_a_plan_leaves_its_mark(self, leaver, pair):
        existing, desired = pair
        changes = plan_user(existing, desired, 100, readable=("mobile",), in_range=EVERYWHERE)
        for one in [*changes, *plan_gone_user(leaver, 100)]:
            counted = one.guarded is not None and one.action == COUNTED[one.guarded]
            assert len(list(destroyed(one))) == (len(one.after) if one.guarded == "blank" else counted)
        removed = [one.key.lower() for one in changes if one.action == "remove" and one.guarded]
        assert removed == [mark[2] for one in changes for mark in destroyed(one) if mark[0] == "membership"]

    def test_an_approval_covers_what_it_covered_and_no_more(self):
        def ceiling(*seats):
            existing = StoredUser("usr_1", User("zhangsan", memberships=(Membership(1), Membership(2))), True, 1)
            desired = User("ZhangSan", memberships=seats)
            changes = plan_user(existing, desired, 5, readable=(), in_range=EVERYWHERE)
            return frozenset(mark for one in changes for mark in destroyed(one))

        approved = ceiling()
        assert approved == {("membership", "remove", "zhangsan:1"), ("membership", "remove", "zhangsan:2")}
        assert ceiling(Membership(1)) < approved
        assert ceiling(Membership(1, 5), Membership(2)) == frozenset()
        assert not approved <= ceiling(Membership(2))


@given(marks, st.data())
def test_a_digest_does_not_depend_on_order(found, data):
    assert digest(data.draw(st.permutations(sorted(found)))) == digest(found)
    assert len(digest(found)) == 64


@given(marks, marks)
def test_different_marks_have_different_digests(one, other):
    assert (digest(one) == digest(other)) == (one == other)


def test_a_digest_stays_the_same_over_versions():
    assert digest([("user", "deactivate", "王五"), ("membership", "remove", "a:7")]) == (
        "999dd191f51cf18fbfc9754d3d420478e9c2a39d8ad2fe203e0bc228c4145a43"
    )
