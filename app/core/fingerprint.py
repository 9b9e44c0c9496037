"""Short hashes by which a sweep finds, inside the database, what differs from what we hold.

The withheld fields are hashed apart, so that a change of what is readable does not make everybody differ.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from app.core.directory import DEPARTMENT_FIELDS, ORDINARY_FIELDS, WITHHELD, Department, User
from app.core.plan import blank


def department_hash(department: Department) -> str:
    """Over every field, the derived parent included: a parent that comes into sight is a change."""
    return _hash([getattr(department, name) for name in DEPARTMENT_FIELDS])


def user_hash(user: User) -> str:
    """Over the ordinary fields, the spelling of the userid and the memberships."""
    memberships = user.memberships and [(m.department_id, m.order, m.is_leader) for m in user.memberships]
    return _hash([user.userid, *(getattr(user, name) for name in ORDINARY_FIELDS), memberships])


def withheld_hashes(user: User) -> dict[str, str | None]:
    """One for each withheld field: None where the answer lacked it, "" where it was empty."""
    return {f"hash_{name}": _withheld(name, getattr(user, name)) for name in WITHHELD}


def digest_of(record: Mapping[str, object]) -> str:
    """Of what a target is told of an object, to know whether it was told already."""
    return _hash(record)


def _withheld(name: str, value: str | None) -> str | None:
    if value is None:
        return None
    return "" if blank(name, value) else _hash(value)


def _hash(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
