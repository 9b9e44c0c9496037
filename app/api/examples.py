"""An example of every request and answer, by the name of its schema; a test holds them against the schemas."""

from typing import Any, Final

from app.api.language import DEFAULT
from app.api.texts import said

_SOURCE_ID: Final = "src_01ka3v8m5x9q2hfj7c4t6w8y0z"
_RUN_ID: Final = "run_01ka3v9r2b6d8gkn1p3s5v7x9y"
_USER_ID: Final = "usr_01ka3va0c4f6hjm8q2t4w6y8z1"
_DEPARTMENT_ID: Final = "dep_01ka3va0b3d5gjn7p9r1t3v5x7"
_EVENT_ID: Final = "evt_01ka3vb4e6g8jkm0p2r4t6v8x0"
_TARGET_ID: Final = "tgt_01ka3vc1d3f5hkm9p1r3t5v7x9"
_EARLIER: Final = "2026-05-04T03:17:00Z"
_LATER: Final = "2026-05-04T03:17:42Z"
_DIGEST: Final = "9b2f6c0d4e8a1b3c5d7e9f0a2b4c6d8e0f1a3b5c7d9e1f2a4b6c8d0e2f4a6b8c"
_ZEROS: Final = dict.fromkeys(
    ("created", "updated", "deactivated", "reactivated", "removed", "unchanged", "failed", "withheld", "unmanaged"), 0
)

_RUN: Final[dict[str, Any]] = {
    "id": _RUN_ID,
    "source_id": _SOURCE_ID,
    "target_id": None,
    "kind": "full",
    "trigger": "schedule",
    "state": "succeeded",
    "dry_run": False,
    "scope": None,
    "stage": "apply",
    "progress": {"done": 3, "total": 3, "eta_seconds": None},
    "counts": {
        "departments": {**_ZEROS, "unchanged": 40},
        "users": {**_ZEROS, "created": 2, "updated": 1, "unchanged": 497},
        "memberships": {**_ZEROS, "created": 2, "unchanged": 512},
    },
    "digest": None,
    "warnings": [],
    "error": None,
    "retry_of": None,
    "approval": None,
    "api_calls": 44,
    "created_at": _EARLIER,
    "started_at": _EARLIER,
    "finished_at": _LATER,
}

_SCHEDULE: Final = {"cron": "17 3 * * *", "timezone": "Asia/Shanghai"}
_GUARD: Final = {"max_percent": 10, "max_count": 500, "floor": 20}

_SOURCE: Final[dict[str, Any]] = {
    "id": _SOURCE_ID,
    "name": "Headquarters",
    "kind": "wecom",
    "enabled": True,
    "config": {
        "corp_id": "ww1436e0e65a779aee",
        "agent_id": 1000002,
        "base_url": "https://qyapi.weixin.qq.com",
        "app_secret": {"set": True},
        "contacts_secret": None,
        "token": {"set": True},
        "encoding_aes_key": {"set": True},
        "extra_callback_pairs": None,
        "proxy": "http://sync:***@proxy.example.com:3128",
    },
    "callback_url": "https://sync.example.com/callbacks/pV3x0c8kQm7tYw2nRb5sLd9fGh1jZa4e",
    "schedule": _SCHEDULE,
    "guard": {**_GUARD, "kinds": {}},
    "callback": {"verified_at": _EARLIER, "last_event_at": _LATER},
    "last_run": _RUN,
    "next_run_at": "2026-05-04T19:17:00Z",
    "open_approval": None,
    "created_at": _EARLIER,
    "updated_at": _EARLIER,
    "deleted_at": None,
}

_CHANGE: Final[dict[str, Any]] = {
    "seq": 1204,
    "kind": "user",
    "action": "update",
    "key": "zhangsan",
    "previous_key": None,
    "before": {"position": "工程师"},
    "after": {"position": "高级工程师"},
    "run_id": _RUN_ID,
    "event_id": None,
    "reason": None,
    "at": _LATER,
}

_USER: Final[dict[str, Any]] = {
    "id": _USER_ID,
    "source_id": _SOURCE_ID,
    "userid": "zhangsan",
    "name": "张三",
    "alias": "",
    "position": "高级工程师",
    "status": 1,
    "active": True,
    "suspended": False,
    "unmanaged_since": None,
    "mobile": None,
    "email": None,
    "biz_mail": None,
    "telephone": "010-00000000",
    "gender": None,
    "avatar": None,
    "address": None,
    "direct_leaders": ["lisi"],
    "main_department_id": 2,
    "departments": [{"department_id": 2, "order": 100, "is_leader": False, "is_main": True}],
    "extattrs": [{"type": 0, "name": "工号", "text": {"value": "0042"}}],
    "unreadable": ["mobile", "email", "biz_mail", "gender", "avatar", "address"],
    "observed_at": _LATER,
    "created_at": _EARLIER,
    "updated_at": _LATER,
    "deactivated_at": None,
}

_TARGET: Final[dict[str, Any]] = {
    "id": _TARGET_ID,
    "name": "NocoBase",
    "kind": "nocobase",
    "source_id": _SOURCE_ID,
    "enabled": True,
    "config": {
        "url": "https://nocobase.example.com",
        "match_key": "phone",
        "username_from": "userid",
        "source_name": None,
        "leavers": "detach",
        "api_key": {"set": True},
    },
    "guard": _GUARD,
    "state": "ok",
    "position": 1204,
    "backlog": 0,
    "open_approval": None,
    "last_error": None,
    "last_delivered_at": _LATER,
    "next_attempt_at": None,
    "created_at": _EARLIER,
    "updated_at": _EARLIER,
}

_DELIVERY: Final[dict[str, Any]] = {
    "id": "dlv_01ka3vc6f8h0kmn4p6r8t0v2x4",
    "target_id": _TARGET_ID,
    "state": "delivered",
    "held": False,
    "objects": [{"kind": "user", "id": _USER_ID, "key": "zhangsan", "sequence": 1204}],
    "attempts": [{"at": _LATER, "status": 200, "response": None, "error": None}],
    "next_attempt_at": None,
    "created_at": _EARLIER,
    "finished_at": _LATER,
}

_DEPARTMENT: Final[dict[str, Any]] = {
    "id": _DEPARTMENT_ID,
    "source_id": _SOURCE_ID,
    "department_id": 2,
    "name": "研发部",
    "name_en": "R&D",
    "parent_id": 1,
    "order": 100,
    "leaders": ["lisi"],
    "active": True,
    "member_count": 12,
    "unmanaged_since": None,
    "unreadable": [],
    "observed_at": _LATER,
    "created_at": _EARLIER,
    "updated_at": _EARLIER,
    "removed_at": None,
}

_TOLD: Final = {"sequence": 1204, "source": {"id": _SOURCE_ID, "corp_id": "ww1436e0e65a779aee"}}
_RUN_NEWS: Final = (
    *("id", "source_id", "target_id", "kind", "trigger", "dry_run", "counts", "digest", "retry_of", "error"),
    *("created_at", "started_at", "finished_at"),
)


def _news(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"id": "msg_6f1c0d4e8a1b3c5d7e9f0a2b4c6d8e0f", "timestamp": _LATER, "type": kind, "data": data}


_USER_EVENT: Final = _news("user.updated", _TOLD | {"object": _USER, "previous": {"position": "工程师"}})

EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "UserEvent": _USER_EVENT,
    "DepartmentEvent": _news("department.moved", _TOLD | {"object": _DEPARTMENT, "previous": {"parent_id": 7}}),
    "RunEvent": _news(
        "run.completed",
        _TOLD | {"previous": {}, "object": {name: _RUN[name] for name in _RUN_NEWS} | {"state": "succeeded"}},
    ),
    "TargetEvent": _news(
        "target.suspended",
        _TOLD
        | {
            "previous": {},
            "object": {name: _TARGET[name] for name in ("id", "source_id", "name", "kind", "last_delivered_at")}
            | {"state": "suspended", "last_error": None, "failing_since": _EARLIER},
        },
    ),
    "PingEvent": _news("ping", {"source": _TOLD["source"]}),
    "BatchEvent": _news("batch", {}) | {"data": [_USER_EVENT]},
    "SourceNew": {
        "name": "Headquarters",
        "kind": "wecom",
        "config": {"corp_id": "ww1436e0e65a779aee", "agent_id": 1000002},
        "schedule": _SCHEDULE,
        "guard": _GUARD,
    },
    "SourceChange": {"config": {"app_secret": {"set": True}, "contacts_secret": None}, "schedule": _SCHEDULE},
    "SourceOut": _SOURCE,
    "CredentialsOrder": {"overlap_seconds": 86400},
    "CallbackCredentials": {
        "callback_url": _SOURCE["callback_url"],
        "token": "shown-only-this-once",
        "encoding_aes_key": "shown-only-this-once",
    },
    "ChecksOut": {
        "ok": False,
        "checks": [
            {
                "name": "token",
                "status": "failed",
                "message": "WeCom refused requests coming from 203.0.113.7.",
                "hint": "Add this address under 应用管理 → the app → 企业可信IP.",
                "code": "wecom.ip_not_trusted",
                "data": {"ip": "203.0.113.7"},
            }
        ],
    },
    "TargetNew": {
        "name": "NocoBase",
        "kind": "nocobase",
        "source_id": _SOURCE_ID,
        "config": {"url": "https://nocobase.example.com", "api_key": "shown-by-nocobase-once", "match_key": "phone"},
    },
    "TargetChange": {"enabled": False},
    "TargetOut": _TARGET,
    "TargetMade": {**_TARGET, "secret": None},
    "SecretRotation": {"overlap_seconds": 86400},
    "SecretOut": {"secret": "whsec_d2UtbmV2ZXItc2hvdy1hLXNlY3JldC10d2ljZS0wMDA=", "old_secret_until": _LATER},
    "ResyncOrder": {"dry_run": True},
    "DeliveryOut": _DELIVERY,
    "RunOrder": {"dry_run": True},
    "RunOut": _RUN,
    "Decision": {"decision": "approve", "digest": _DIGEST, "reason": "The branch office was closed."},
    "PlannedOut": {
        "kind": "user",
        "action": "deactivate",
        "key": "wangwu",
        "object_id": _USER_ID,
        "previous_key": None,
        "before": {"active": True},
        "after": {"active": False},
        "state": "withheld",
        "reason": None,
    },
    "UserOut": _USER,
    "DepartmentOut": _DEPARTMENT,
    "HistoryOut": _CHANGE,
    "Feed": {"items": [{**_CHANGE, "source_id": _SOURCE_ID, "object_id": _USER_ID}], "next_after": 1204},
    "EventOut": {
        "id": _EVENT_ID,
        "source_id": _SOURCE_ID,
        "received_at": _EARLIER,
        "change_type": "update_user",
        "object": {"kind": "user", "key": "zhangsan", "new_key": None},
        "state": "applied",
        "reason": None,
        "attempts": 0,
        "next_attempt_at": None,
        "error": None,
        "run_id": None,
        "applied_at": _LATER,
        "duplicates": 0,
        "xml": None,
    },
    "Health": {"status": "ok"},
    "Readiness": {
        "status": "ready",
        "checks": {
            "database": {"status": "ok", "detail": "current"},
            "worker": {"status": "ok", "detail": "2026-05-04T03:17:41Z"},
        },
    },
}


def example_of(schema: str) -> dict[str, Any] | None:
    """The example of a schema; of a page, one with a single item."""
    if schema.startswith("Page_"):
        return {"items": [EXAMPLES[schema.removeprefix("Page_").rstrip("_")]], "next_cursor": None}
    return EXAMPLES.get(schema)


def problem_example(code: str, status: int) -> dict[str, Any]:
    """A problem report with this code."""
    texts = said(code, DEFAULT, {}, code, "")
    report: dict[str, Any] = {
        "type": f"/docs/errors#{code}",
        "title": texts.title,
        "status": status,
        "detail": texts.detail,
        "instance": "/api/v1/…",
        "code": code,
        "request_id": "req_5f0c1a2b3d4e5f607182",
    }
    if code == "request.invalid":
        report["errors"] = [{"pointer": "/name", "message": "is required"}]
    return report | ({"hint": texts.hint} if texts.hint else {})
