"""What a read of a department changes, and what becomes of one that is gone or out of sight."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.directory import DEPARTMENT_FIELDS, Department, StoredDepartment
from app.core.plan import plan_department, plan_gone_department, plan_unseen_department

from .directory_model import Directory, apply_changes
from .strategies import (
    SINCE,
    department_ids,
    department_pairs,
    departments,
    forests,
    maybe,
    numbers,
    stored_departments,
)

HELD = StoredDepartment("dep_held", Department(2**63 - 1, "研发", "R&D", 1, 2**32 - 1, ("lisi",)), True, 10)


def after(existing, changes):
    return apply_changes(Directory.of(existing), changes).departments[existing.value.department_id]


def merged(held, seen):
    """None keeps what we held, but of the parent: there it is the top."""
    said = {name: getattr(seen, name) for name in DEPARTMENT_FIELDS if getattr(seen, name) is not None}
    return replace(held, **(said | {"parent_id": seen.parent_id}))


@given(department_pairs())
def test_a_read_carried_out_gives_what_was_read(pair):
    existing, desired = pair
    changes = plan_department(existing, desired, 100)
    found = after(existing, changes)
    assert found.value == merged(existing.value, desired)
    assert (found.id, found.active, found.unmanaged_since) == (existing.id, True, None)
    assert plan_department(found, desired, 101) == []
    assert len(changes) <= 1


@given(departments(parent=maybe(department_ids)))
def test_a_new_one_is_held_as_read(desired):
    directory = apply_changes(Directory(), plan_department(None, desired, 100))
    found = directory.departments[desired.department_id]
    assert (found.value, found.active, found.observed) == (desired, True, 100)
    assert plan_department(found, desired, 101) == []


@given(stored_departments())
def test_a_plan_of_equals_is_empty(existing):
    existing = replace(existing, active=True, unmanaged_since=None)
    assert plan_department(existing, existing.value, 100) == []


@given(department_pairs(), numbers)
def test_an_older_or_equally_old_read_changes_nothing(pair, observed):
    existing, desired = pair
    changes = plan_department(existing, desired, observed)
    assert not changes or observed > existing.observed


def test_one_number_newer_is_newer():
    assert plan_department(HELD, replace(HELD.value, name="n"), 10) == []
    assert [c.after for c in plan_department(HELD, replace(HELD.value, name="n"), 11)] == [{"name": "n"}]


@pytest.mark.parametrize(("before", "seen"), [(1, None), (None, 1), (1, 2)])
def test_a_parent_that_comes_into_sight_or_leaves_it_is_a_change(before, seen):
    existing = replace(HELD, value=replace(HELD.value, parent_id=before))
    (change,) = plan_department(existing, replace(HELD.value, parent_id=seen), 100)
    assert (change.action, change.before, change.after) == ("update", {"parent_id": before}, {"parent_id": seen})
    assert (change.key, change.object_id, change.guarded) == (str(2**63 - 1), "dep_held", None)


@given(stored_departments(), numbers)
def test_one_proven_gone_is_removed_and_guarded(existing, observed):
    changes = plan_gone_department(existing, observed)
    assert bool(changes) == (existing.active and existing.observed <= observed)
    assert [(c.action, c.guarded) for c in changes] in ([], [("remove", "department")])
    found = after(existing, changes)
    assert found.value == existing.value
    assert found.active == (existing.active and not changes)
    assert plan_gone_department(found, observed) == changes[:0]


@pytest.mark.parametrize(("observed", "counts"), [(9, False), (10, True), (11, True)])
def test_an_absence_counts_from_the_number_of_the_last_read_on(observed, counts):
    assert bool(plan_gone_department(HELD, observed)) == counts
    assert bool(plan_unseen_department(HELD, observed, SINCE)) == counts


@given(stored_departments(), numbers)
def test_one_out_of_sight_is_kept_and_said_to_be_unmanaged(existing, observed):
    changes = plan_unseen_department(existing, observed, SINCE)
    assert bool(changes) == (existing.active and not existing.unmanaged_since and existing.observed <= observed)
    assert [(c.action, c.guarded) for c in changes] in ([], [("unmanage", None)])
    found = after(existing, changes)
    assert (found.value, found.active) == (existing.value, existing.active)
    assert found.unmanaged_since == (SINCE if changes else existing.unmanaged_since)
    assert plan_unseen_department(found, observed, SINCE) == []


def test_one_that_returns_keeps_its_id():
    gone = after(HELD, plan_gone_department(HELD, 20))
    assert plan_department(gone, HELD.value, 20) == []
    (change,) = plan_department(gone, replace(HELD.value, name="新"), 21)
    assert (change.action, change.object_id) == ("reactivate", "dep_held")
    assert (change.before, change.after) == ({"name": "研发", "active": False}, {"name": "新", "active": True})


def test_one_out_of_sight_that_is_seen_again_is_managed_again():
    hidden = after(HELD, plan_unseen_department(HELD, 20, SINCE))
    (change,) = plan_department(hidden, HELD.value, 21)
    assert (change.action, change.after) == ("update", {"unmanaged_since": None})


def test_one_removed_while_out_of_sight_returns_managed():
    hidden = after(HELD, plan_unseen_department(HELD, 20, SINCE))
    gone = after(hidden, plan_gone_department(hidden, 21))
    (change,) = plan_department(gone, HELD.value, 22)
    assert (change.action, change.after) == ("reactivate", {"active": True, "unmanaged_since": None})


@given(forests(), st.data())
def test_the_order_of_departments_does_not_matter(forest, data):
    found = []
    for order in (forest, data.draw(st.permutations(forest))):
        directory = Directory()
        for department in order:
            directory = apply_changes(directory, plan_department(None, department, 100))
        found.append(directory)
    assert found[0] == found[1]
    assert [stored.value for stored in found[0].departments.values()] == forest
