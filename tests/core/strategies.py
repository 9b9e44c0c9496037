"""Departments, people and reads of them as hypothesis draws them: few distinct values, so that they collide."""

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import strategies as st

from app.core.directory import WITHHELD, Department, Membership, StoredDepartment, StoredUser, User

DEPARTMENTS = (1, 2, 3, 40, 2**32, 2**53 + 1, 2**63 - 1)
USERIDS = ("zhangsan", "lisi", "wang.wu@example", "a:b", "0", "王五")
SINCE = datetime(2026, 5, 17, 8, 30, tzinfo=UTC)

department_ids = st.sampled_from(DEPARTMENTS)
userids = st.sampled_from(USERIDS).flatmap(lambda userid: spellings(userid))
texts = st.sampled_from(("", "0", "张三", "Zhang San", "\U00020bb7 é\n\u2028"))
names = st.sampled_from((None, "", "研发"))
orders = st.sampled_from((0, 1, 2**32 - 1, 2**63 - 1))
numbers = st.sampled_from((60, 59, 30, 2, 1))
withheld_names = st.frozensets(st.sampled_from(WITHHELD))
ranges = st.frozensets(department_ids)


def spellings(userid):
    """The same userid in several cases."""
    return st.sampled_from(sorted({userid, userid.upper(), userid.title()}))


def maybe(values):
    """A value, or None: the answer did not say."""
    return st.none() | values


ATTRIBUTES = (
    {"type": 0, "name": "工号", "text": {"value": "7"}},
    {"type": 0, "name": "工号", "text": {"value": ""}},
    {"type": 1, "name": "主页", "web": {"url": "https://a.example", "title": "a"}},
    {"type": 7, "name": "x"},
)
extattrs = st.sampled_from(((), ATTRIBUTES[:1], ATTRIBUTES[1:2], ATTRIBUTES[2:], ATTRIBUTES[::-1]))
leaders = st.sampled_from(((), ("lisi",), ("LiSi",), ("lisi", "0"), ("0", "lisi")))
seats = st.builds(Membership, department_ids, orders, st.booleans())
memberships = st.lists(seats, max_size=4, unique_by=lambda seat: seat.department_id).map(sorted).map(tuple)

FIELDS = {
    "name": texts,
    "alias": texts,
    "position": texts,
    "status": st.sampled_from((1, 2, 4, 5, 9)),
    "mobile": texts,
    "email": texts,
    "biz_mail": texts,
    "telephone": texts,
    "gender": st.sampled_from(("", "0", "1", "2")),
    "avatar": texts,
    "address": texts,
    "direct_leaders": leaders,
    "main_department_id": department_ids,
    "extattrs": extattrs,
    "memberships": memberships,
}
UNREAD_TOO = {name: maybe(values) for name, values in FIELDS.items()}


def users(userid=userids, **fixed):
    """A person as read, any field of which may be unread."""
    return st.builds(User, userid, **(UNREAD_TOO | fixed))


def whole_users(userid=userids, **fixed):
    """A person of whom everything was read."""
    return st.builds(User, userid, **(FIELDS | fixed))


@st.composite
def stored_users(draw, userid=userids, **fixed):
    """Somebody we hold; whoever left is inactive, out of sight may be only who is active."""
    value = draw(users(userid, memberships=memberships, **fixed))
    active = not value.left and draw(st.sampled_from((True, True, False)))
    since = draw(st.sampled_from((None, SINCE))) if active else None
    return StoredUser("usr_held", value, active, draw(numbers), since)


@st.composite
def reads_of(draw, existing, **fixed):
    """A read of somebody we hold: of each field the same value, another, or nothing."""
    fresh = draw(users(spellings(existing.value.key), **fixed))
    same = draw(st.frozensets(st.sampled_from(tuple(FIELDS))))
    return replace(fresh, **{name: getattr(existing.value, name) for name in same - fixed.keys()})


@st.composite
def pairs(draw):
    """(somebody we hold, a read of him)."""
    existing = draw(stored_users())
    return existing, draw(reads_of(existing))


@st.composite
def forests(draw, most=10):
    """Departments as one list holds them: each one's parent is in the list, or None; no cycles; in any order."""
    ids = draw(st.lists(st.integers(1, 2**63 - 1), max_size=most, unique=True))
    parents = [draw(st.sampled_from([None, *ids[:index]])) for index in range(len(ids))]
    found = [Department(number, draw(names), parent_id=parent) for number, parent in zip(ids, parents, strict=True)]
    return draw(st.permutations(found))


def departments(number=department_ids, parent=None):
    return st.builds(
        Department,
        number if isinstance(number, st.SearchStrategy) else st.just(number),
        maybe(texts),
        maybe(texts),
        parent if isinstance(parent, st.SearchStrategy) else st.just(parent),
        maybe(orders),
        maybe(leaders),
    )


@st.composite
def stored_departments(draw, number=department_ids):
    value = draw(departments(number, maybe(department_ids)))
    active = draw(st.sampled_from((True, True, False)))
    since = draw(st.sampled_from((None, SINCE))) if active else None
    return StoredDepartment("dep_held", value, active, draw(numbers), since)


@st.composite
def department_pairs(draw):
    """(a department we hold, a read of it)."""
    existing = draw(stored_departments())
    read = draw(departments(existing.value.department_id, maybe(department_ids)))
    keep = draw(st.frozensets(st.sampled_from(("name", "name_en", "parent_id", "order", "leaders"))))
    return existing, replace(read, **{name: getattr(existing.value, name) for name in keep})
