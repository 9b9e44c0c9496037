"""Objects of the directory as NocoBase's push takes them (POST /api/userData:push); pure.

Every field every time: what is left out of a push is emptied there, memberships above all.
"""

from collections.abc import Mapping
from typing import Any, Final

from app.core.outgoing import Outgoing
from app.targets.nocobase.config import NocoBaseConfig

LARGEST_ORDER: Final = 2**32 - 1
TOO_LONG: Final = "x" * 300
"""A title that only an unknown department would be made with: PostgreSQL refuses it, so that a repeated delete makes no
ghost."""

Record = dict[str, Any]


def record_of(item: Outgoing, config: NocoBaseConfig) -> Record | None:
    """What NocoBase is to hold; None when it is to hold nothing."""
    if item.kind == "department":
        return department_record(item) if item.value.get("active") else None
    if item.kind == "user":
        return user_record(item, config)
    return None


def department_record(item: Outgoing) -> Record:
    """WeCom's larger order stands earlier, NocoBase's smaller one."""
    value = item.value
    record = {
        "uid": item.object_id,
        "title": value["name"] or str(value["department_id"]),
        "sort": LARGEST_ORDER - (value["order"] or 0),
    }
    return record | ({"parentUid": value["parent"]} if value["parent"] else {})


def user_record(item: Outgoing, config: NocoBaseConfig) -> Record | None:
    """A leaver loses his departments, or the account; but one that was there before us is never deleted, and nobody who
    has left is made an account."""
    value, link = item.value, item.link
    taken_over = link is not None and link.remote_id is not None
    if not value.get("active") and (link is None or (config.leavers == "delete" and not taken_over)):
        return None
    seats = value.get("departments", []) if value.get("active") else []
    record = {"uid": item.object_id} | _profile(value, config)
    return record | {"departments": [_seat(seat) for seat in seats if seat["id"]]}


def removal_record(item: Outgoing) -> Record:
    """The forms of a delete that may be repeated: an unknown object fails instead of being made."""
    if item.kind == "department":
        return {"uid": item.object_id, "isDeleted": True, "title": TOO_LONG}
    return {"uid": item.object_id, "isDeleted": True}


def _profile(value: Mapping[str, Any], config: NocoBaseConfig) -> Record:
    """A field never read is left out (it stays there), one read and empty is emptied."""
    if "userid" not in value:
        return {}
    mails = [value["biz_mail"], value["email"]]
    email = next((mail for mail in mails if mail), None)
    names = {"userid": value["userid"].lower(), "mobile": value["mobile"], "email": email}
    profile: Record = {"username": names[config.username_from] or names["userid"]}
    profile["nickname"] = value["name"] or value["alias"] or value["userid"]
    if email or mails != [None, None]:
        profile["email"] = email
    if value["mobile"] is not None:
        profile["phone"] = value["mobile"] or None
    return profile


def _seat(seat: Mapping[str, Any]) -> Record:
    return {"uid": seat["id"], "isMain": seat["is_main"], "isOwner": seat["is_leader"]}
