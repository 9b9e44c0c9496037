"""What a complete, correct copy of the company holds for one credential, as plain JSON to compare with."""

from __future__ import annotations

from typing import Any

from app.simulator.permissions import View
from app.simulator.records import User


def truth(view: View) -> dict[str, Any]:
    """`departments`, `users` and `memberships`, sorted by id; withheld fields and invisible things are not in it.

    A department's `parent_id` is None where the parent is not visible. A credential that may read ids only gets
    departments without names and leaders, users without fields and memberships without order and flags.
    """
    details = view.credential.reads_details
    users = sorted(view.people(), key=lambda user: user.key)
    return {
        "departments": [_department(view, id, details) for id in sorted(view.department_ids())],
        "users": [_user(view, user) if details else {"userid": user.userid} for user in users],
        "memberships": [place for user in users for place in _memberships(view, user, details)],
    }


def _department(view: View, id: int, details: bool) -> dict[str, Any]:
    department = view.records.departments[id]
    parent = department.parent if department.parent and view.sees_department(department.parent) else None
    shown: dict[str, Any] = {"department_id": id, "parent_id": parent, "order": department.order}
    if details:
        shown |= {"name": department.name, "name_en": department.name_en, "leaders": sorted(view.leaders(id))}
    return shown


def _user(view: View, user: User) -> dict[str, Any]:
    main = user.main_department
    fields: dict[str, Any] = {
        "userid": user.userid,
        "name": user.name,
        "status": user.status,
        "position": user.position,
        "telephone": user.telephone,
        "alias": user.alias,
        "direct_leaders": list(user.direct_leaders),
        "extattrs": list(user.extattrs),
        "main_department_id": main if main is not None and view.sees_department(main) else None,
    }
    sensitive = ("mobile", "gender", "email", "biz_mail", "avatar", "address")
    return fields | {name: getattr(user, name) for name in sensitive if name not in view.credential.withheld}


def _memberships(view: View, user: User, details: bool) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = []
    for place in sorted(user.memberships):
        if view.sees_department(place.department):
            one: dict[str, Any] = {"userid": user.userid, "department_id": place.department}
            if details:
                one |= {"order": place.order, "is_leader": place.leader}
                one |= {"is_main": place.department == user.main_department}
            shown.append(one)
    return shown
