"""People who leave, are out of sight, come back, or are followed by somebody else under the same userid."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.core.directory import Membership, StoredUser, User
from app.core.plan import IDENTIFIERS, plan_gone_user, plan_unseen_user, plan_user, somebody_else

from .directory_model import EVERYWHERE, Directory, apply_changes, read_user
from .strategies import SINCE, numbers, stored_users, users, whole_users, withheld_names

SEATS = (Membership(1), Membership(2**63 - 1, 2**32 - 1, True))
ZHANG = User("zhangsan", name="张三", status=1, mobile="1", email="a@example", memberships=SEATS)
LI = User("zhangsan", name="李四", status=1, mobile="2", email="b@example", memberships=SEATS)
READABLE = frozenset({"mobile", "email"})


def held(value=ZHANG, *, active=True, observed=1, unmanaged_since=None):
    return StoredUser("usr_held", value, active, observed, unmanaged_since)


def plan(existing, desired, observed=100, readable=READABLE):
    return plan_user(existing, desired, observed, readable=readable, in_range=EVERYWHERE)


def after(existing, changes):
    return apply_changes(Directory.of(existing), changes).users[existing.id]


class TestLeaving:
    """By WeCom's word (status 5) or by proof of absence."""

    def test_status_five_deactivates_and_is_guarded(self):
        changes = plan(held(), replace(ZHANG, status=5, position="p"))
        assert [(c.action, c.guarded, dict(c.before), dict(c.after)) for c in changes] == [
            ("deactivate", "deactivate", {"status": 1, "active": True}, {"status": 5, "active": False}),
            ("update", None, {"position": None}, {"position": "p"}),
        ]

    @pytest.mark.parametrize("status", [1, 2, 4, 9, 0, None])
    def test_every_other_status_stays_active(self, status):
        found = after(held(), plan(held(), replace(ZHANG, status=status)))
        assert found.active
        assert found.value.status == (1 if status is None else status)

    def test_status_five_of_one_who_is_inactive_is_only_an_update(self):
        changes = plan(held(active=False), replace(ZHANG, status=5))
        assert [(c.action, c.guarded, dict(c.after)) for c in changes] == [("update", None, {"status": 5})]

    @given(stored_users(), st.integers(60, 100))
    def test_one_proven_gone_is_deactivated_and_his_memberships_end(self, existing, observed):
        changes = plan_gone_user(existing, observed)
        assert bool(changes) == existing.active
        found = after(existing, changes)
        assert not found.active
        if existing.active:
            assert found.value == replace(existing.value, memberships=())
            assert {c.guarded for c in changes} == {"deactivate"}
            assert [c.action for c in changes] == ["remove"] * len(existing.value.memberships) + ["deactivate"]
            assert changes[-1].reason == "gone"
        assert plan_gone_user(found, observed + 1) == []

    @given(stored_users(), numbers)
    def test_an_absence_says_nothing_about_whoever_was_read_since(self, existing, observed):
        absent = existing.active and existing.observed <= observed
        assert bool(plan_gone_user(existing, observed)) == absent
        assert bool(plan_unseen_user(existing, observed, SINCE)) == (absent and not existing.unmanaged_since)

    @pytest.mark.parametrize(("observed", "counts"), [(9, False), (10, True), (11, True)])
    def test_an_absence_counts_from_the_number_of_the_last_read_on(self, observed, counts):
        existing = held(observed=10)
        assert bool(plan_gone_user(existing, observed)) == counts
        assert bool(plan_unseen_user(existing, observed, SINCE)) == counts

    @given(stored_users(), st.integers(60, 100))
    def test_one_out_of_sight_is_kept_and_said_to_be_unmanaged(self, existing, observed):
        changes = plan_unseen_user(existing, observed, SINCE)
        assert bool(changes) == (existing.active and existing.unmanaged_since is None)
        found = after(existing, changes)
        assert (found.value, found.active) == (existing.value, existing.active)
        assert found.unmanaged_since == (SINCE if existing.active else existing.unmanaged_since)
        assert [(c.action, c.guarded) for c in changes] in ([], [("unmanage", None)])
        assert plan_unseen_user(found, observed + 1, SINCE) == []

    def test_one_out_of_sight_may_be_proven_gone_later_and_seen_again(self):
        hidden = after(held(), plan_unseen_user(held(), 5, SINCE))
        assert plan_gone_user(hidden, 4) == []
        assert not after(hidden, plan_gone_user(hidden, 6)).active
        assert after(hidden, plan(hidden, ZHANG)) == held(observed=100)


class TestReturning:
    """The old id wherever it may be the same person."""

    @given(stored_users(), st.integers(60, 90), st.data())
    def test_one_who_was_gone_returns_under_his_id(self, existing, observed, data):
        assume(existing.active)
        gone = after(existing, plan_gone_user(existing, observed))
        back = data.draw(whole_users(userid=st.just(existing.value.userid), name=st.just(existing.value.name)))
        directory, changes = read_user(Directory.of(gone), back, 100)
        assert list(directory.users) == [existing.id]
        found = directory.users[existing.id]
        assert (found.active, found.value.memberships) == (not back.left, back.memberships)
        assert [c.action for c in changes].count("reactivate") == (not back.left)

    def test_returning_is_not_guarded(self):
        changes = plan(held(replace(ZHANG, status=5, memberships=()), active=False), ZHANG)
        assert [(c.action, c.guarded) for c in changes] == [("reactivate", None), ("create", None), ("create", None)]
        assert changes[0].after == {"status": 1, "active": True}

    def test_what_he_lost_meanwhile_is_guarded_apart(self):
        changes = plan(held(active=False), replace(ZHANG, mobile="", memberships=SEATS[:1]))
        assert [(c.kind, c.action, c.guarded) for c in changes] == [
            ("user", "update", "blank"),
            ("user", "reactivate", None),
            ("membership", "remove", "membership"),
        ]

    @given(stored_users(), numbers)
    def test_a_stale_read_brings_nobody_back(self, existing, observed):
        assume(existing.active)
        gone = after(existing, plan_gone_user(existing, 60))
        assert plan(gone, replace(existing.value, status=1), observed) == []

    @given(stored_users(), st.integers(61, 100))
    def test_ids_alone_never_bring_back_who_left(self, existing, observed):
        left = replace(existing, value=replace(existing.value, status=5), active=False)
        only_id = User(existing.value.userid, memberships=existing.value.memberships)
        assert not after(left, plan(left, only_id, observed)).active

    def test_ids_alone_bring_back_who_was_only_proven_gone(self):
        gone = after(held(), plan_gone_user(held(), 5))
        assert after(gone, plan(gone, User("zhangsan", memberships=SEATS))) == held(observed=100)


class TestSomebodyElse:
    """The same userid, another person: name and every other readable identifier differ."""

    def test_a_userid_that_comes_back_as_somebody_else_is_a_new_person(self):
        gone = after(held(), plan_gone_user(held(), 5))
        directory, changes = read_user(Directory.of(gone), LI, 100, readable=READABLE)
        new = directory.holder("zhangsan")
        assert new.id != gone.id
        assert (new.value, new.active) == (LI, True)
        assert directory.users[gone.id] == gone
        assert {c.reason for c in changes} == {"userid_reused"}
        assert read_user(directory, LI, 101, readable=READABLE)[1] == []

    def test_whom_he_follows_keeps_no_memberships(self):
        left = held(replace(ZHANG, status=5), active=False)
        directory, changes = read_user(Directory.of(left), LI, 100, readable=READABLE)
        assert directory.users[left.id].value == replace(left.value, memberships=())
        assert directory.holder("zhangsan").value == LI
        assert not any(c.guarded for c in changes)

    @given(stored_users(userid=st.just("zhangsan")), users(userid=st.just("zhangsan")), withheld_names)
    def test_only_of_an_inactive_person_and_only_when_nothing_agrees(self, existing, desired, readable):
        new = any(c.action == "create" and c.kind == "user" for c in plan(existing, desired, readable=readable))
        names = ["name", *(n for n in IDENTIFIERS if n in ("telephone", "alias") or n in readable)]
        agree = [n for n in names if getattr(desired, n) and getattr(desired, n) == getattr(existing.value, n)]
        named = bool(existing.value.name) and bool(desired.name)
        assert new == (not existing.active and not desired.left and named and not agree)

    @pytest.mark.parametrize("name", IDENTIFIERS)
    def test_one_identifier_that_agrees_is_enough(self, name):
        zhang, li = replace(ZHANG, **{name: "same"}), replace(LI, **{name: "same"})
        assert not somebody_else(zhang, li, {*READABLE, "biz_mail"})

    def test_an_identifier_that_cannot_be_read_proves_nothing(self):
        zhang, li = replace(ZHANG, mobile="same"), replace(LI, mobile="same")
        assert not somebody_else(zhang, li, {"mobile"})
        assert somebody_else(zhang, li, {"email"})

    @pytest.mark.parametrize("name", [None, ""])
    def test_without_a_name_he_is_the_same(self, name):
        assert not somebody_else(ZHANG, replace(LI, name=name), READABLE)
        assert not somebody_else(replace(ZHANG, name=name), LI, READABLE)

    def test_an_active_person_is_never_replaced(self):
        """A new name and a new telephone at once are still the same person, as long as he has not left."""
        assert [(c.action, c.object_id) for c in plan(held(), LI)] == [("update", "usr_held")]
