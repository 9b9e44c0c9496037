"""What a running NocoBase 2.2.15 was seen to do with a push, its traps included; served over real HTTP."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

KEY = "canary-nocobase-key"


@dataclass
class NocoBase:
    """Its tables. `refuse` may answer a request instead of it."""

    users: dict[int, dict[str, Any]] = field(default_factory=dict)
    departments: dict[int, dict[str, Any]] = field(default_factory=dict)
    mapping: dict[tuple[str, str, str], int | None] = field(default_factory=dict)
    pushes: list[dict[str, Any]] = field(default_factory=list)
    refuse: Callable[[Request], Response | None] = lambda _request: None
    departments_plugin: bool = True
    may_push: bool = True
    may_read: bool = True
    _next: int = 1

    def __post_init__(self) -> None:
        self.add_user(username="nocobase", nickname="Super Admin", roles=["root"])

    @property
    def app(self) -> Starlette:
        routes = [
            Route("/api/userData:push", self._push, methods=["POST"]),
            Route("/api/users:list", self._users),
            Route("/api/departments:list", self._departments),
        ]
        return Starlette(routes=routes)

    def add_user(self, **values: Any) -> int:
        blank = {
            "username": None,
            "nickname": None,
            "email": None,
            "phone": None,
            "departments": {},
            "roles": ["member"],
        }
        return self._insert(self.users, blank | values)

    def user(self, username: str) -> dict[str, Any]:
        (found,) = [user for user in self.users.values() if user["username"] == username]
        return found

    def titles(self, username: str) -> list[str]:
        return sorted(self.departments[id_]["title"] for id_ in self.user(username)["departments"])

    def _insert(self, table: dict[int, dict[str, Any]], values: dict[str, Any]) -> int:
        self._next += 1
        table[self._next] = {"id": self._next} | values
        return self._next

    def _refused(self, request: Request) -> Response | None:
        if answer := self.refuse(request):
            return answer
        given = request.headers.get("authorization")
        if given != f"Bearer {KEY}":
            error = {"message": "Unauthenticated", "code": "INVALID_TOKEN" if given else "EMPTY_TOKEN"}
            return JSONResponse({"errors": [error]}, 401)
        return None

    async def _users(self, request: Request) -> Response:
        return await self._list(request, self.users)

    async def _departments(self, request: Request) -> Response:
        return await self._list(request, self.departments)

    async def _list(self, request: Request, table: dict[int, dict[str, Any]]) -> Response:
        if answer := self._refused(request):
            return answer
        if not self.may_read:
            return JSONResponse({"errors": [{"message": "No permissions"}]}, 403)
        rows = list(table.values())
        for name, wanted in json.loads(request.query_params.get("filter", "{}")).items():
            rows = [row for row in rows if row[name] in wanted["$in"]]
        shown = [row | {"roles": [{"name": name} for name in row.get("roles", [])], "departments": []} for row in rows]
        return JSONResponse({"data": shown, "meta": {"count": len(rows)}})

    async def _push(self, request: Request) -> Response:
        if answer := self._refused(request):
            return answer
        if not self.may_push:
            return JSONResponse({"errors": [{"message": "No permissions"}]}, 403)
        body = await request.json()
        kind, records = body.get("dataType"), body.get("records")
        if kind not in ("user", "department") or (kind == "department" and not self.departments_plugin):
            return self._bad(f"dataType {kind} is not supported")
        if not records:
            return self._bad("records must have at least one piece of data")
        if any(not isinstance(record.get("uid"), str) or len(record["uid"]) > 255 for record in records):
            return self._bad("record must has uid")
        self.pushes.append(body)
        apply = self._user if kind == "user" else self._department
        failed = [
            {"record": record, "message": message}
            for record in records
            if (message := apply(body.get("sourceName", "api"), record, body.get("matchKey")))
        ]
        detail = {"count": {"all": len(records), "failed": len(failed)}, "failedRecords": failed}
        result = [{"resource": "users" if kind == "user" else "departments", "detail": detail}]
        return JSONResponse({"data": {"code": 0, "message": "success", "result": result}})

    @staticmethod
    def _bad(message: str) -> Response:
        return JSONResponse({"data": {"code": 500, "message": message}}, 500)

    def _user(self, source: str, record: dict[str, Any], match: str | None) -> str | None:
        key = (source, "user", record["uid"])
        known = self.mapping.get(key)
        if known is None and match:
            if match not in record:
                return f'WHERE parameter "{match}" has invalid "undefined" value'
            # A null matches anybody who lacks the field: it hijacked the root account.
            known = next((id_ for id_, user in self.users.items() if user[match] == record[match]), None)
        if record.get("isDeleted") and known is not None:
            if "root" not in self.users[known]["roles"]:
                del self.users[known]
            self.mapping[key] = None
            return None
        names = ("username", "nickname", "email", "phone")
        profile = {name: record[name] or None for name in names if name in record}
        taken = [u for id_, u in self.users.items() if id_ != known]
        if any(profile.get(n) and u[n] == profile[n] for u in taken for n in ("username", "email", "phone")):
            return "Validation error"
        known = known if known is not None else self.add_user()
        self.mapping[key] = known
        seats = {self.mapping.get((source, "department", seat["uid"])): seat for seat in record.get("departments", [])}
        self.users[known] |= profile | {"departments": {id_: seat for id_, seat in seats.items() if id_ is not None}}
        return None

    def _department(self, source: str, record: dict[str, Any], _match: str | None) -> str | None:
        key = (source, "department", record["uid"])
        known = self.mapping.get(key)
        if record.get("isDeleted") and known is not None:
            self._cascade(known)
            self.mapping[key] = None
            return None
        if len(record.get("title", "")) > 255:
            return "value too long for type character varying(255)"
        known = known if known is not None else self._insert(self.departments, {})
        self.mapping[key] = known
        parent = self.mapping.get((source, "department", record.get("parentUid", "")))
        self.departments[known] |= {"title": record.get("title"), "sort": record.get("sort"), "parent": parent}
        return None

    def _cascade(self, id_: int) -> None:
        for child in [row["id"] for row in self.departments.values() if row["parent"] == id_]:
            self._cascade(child)
        del self.departments[id_]
        for user in self.users.values():
            user["departments"].pop(id_, None)
