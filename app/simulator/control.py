"""The control API under /control: see and change everything from outside. It has no protection; keep it on loopback."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.simulator.company import CompanyError
from app.simulator.events import Event
from app.simulator.faults import parse
from app.simulator.permissions import Credential, Range
from app.simulator.records import Membership
from app.simulator.settings import change

if TYPE_CHECKING:
    from app.simulator.simulator import Simulator

MUTATIONS = (
    "join", "leave", "move", "edit", "rename", "rename_userid", "set_status", "disable", "enable", "lead",
    "create_department", "move_department", "rename_department", "reorder_department", "delete_department",
    "create_tag", "change_tag", "delete_tag", "finish_job",
)  # fmt: skip
Answer = Callable[[dict[str, Any]], Awaitable[object]]


def routes(simulator: Simulator) -> list[Route]:
    """The routes of the control API; a bad request is answered 400 with `{"error": …}`."""
    desk = _Desk(simulator)
    table: dict[tuple[str, str], Answer] = {
        ("/company", "GET"): desk.company,
        ("/users", "GET"): desk.users,
        ("/truth", "GET"): desk.truth,
        ("/mutations", "POST"): desk.mutate,
        ("/credentials", "PATCH"): desk.credential,
        ("/counters", "GET"): desk.counters,
        ("/calls", "GET"): desk.calls,
        ("/faults", "GET"): desk.faults,
        ("/faults", "POST"): desk.add_fault,
        ("/faults", "DELETE"): desk.clear_faults,
        ("/reset", "POST"): desk.reset,
        ("/settings", "GET"): desk.settings,
        ("/settings", "PATCH"): desk.change_settings,
        ("/clock", "POST"): desk.clock,
        ("/tokens", "POST"): desk.tokens,
        ("/callback", "GET"): desk.receivers,
        ("/callback", "POST"): desk.save_receiver,
        ("/callback", "DELETE"): desk.remove_receiver,
        ("/deliveries", "GET"): desk.deliveries,
        ("/events", "POST"): desk.push,
        ("/live", "POST"): desk.live,
        ("/live", "DELETE"): desk.rest,
    }
    return [Route(path, _endpoint(answer), methods=[method]) for (path, method), answer in table.items()]


def _endpoint(answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            body = json.loads(await request.body() or b"{}")
            values = dict(request.query_params) | (body if isinstance(body, dict) else {})
            return JSONResponse(await answer(values))
        except (CompanyError, ValueError, TypeError, KeyError) as error:
            return JSONResponse({"error": f"{type(error).__name__}: {error}"}, 400)

    return endpoint


class _Desk:
    """One method per route; `ask` holds the query and the body's members."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._company = simulator.company

    async def company(self, ask: dict[str, Any]) -> object:
        records = self._company.records
        sizes = {"users": len(records.users), "departments": len(records.departments), "tags": len(records.tags)}
        credentials = {name: _credential(one) for name, one in self._company.credentials.items()}
        return {"corp_id": self._company.corp_id, "counts": sizes, "credentials": credentials}

    async def users(self, ask: dict[str, Any]) -> object:
        limit, offset = int(ask.get("limit", 50)), int(ask.get("offset", 0))
        return {"items": self._company.userids[offset : offset + limit]}

    async def truth(self, ask: dict[str, Any]) -> object:
        return self._company.truth(self._named(ask))

    async def mutate(self, ask: dict[str, Any]) -> object:
        action = ask.pop("action")
        if action not in MUTATIONS:
            raise ValueError(f"action must be one of {', '.join(MUTATIONS)}")
        if "departments" in ask:
            ask["departments"] = [at if isinstance(at, int) else Membership(**at) for at in ask["departments"]]
        raised = getattr(self._company, action)(**ask)
        return {"id": raised} if isinstance(raised, int) else {"events": [_event(event) for event in raised or []]}

    async def credential(self, ask: dict[str, Any]) -> object:
        credential = self._named(ask)
        ask.pop("credential")
        if "visible" in ask:
            self._company.set_range(credential, Range.of(**ask.pop("visible")))
        for name, value in ask.items():
            if name not in ("secret", "withheld", "known_ip", "trusted_ips", "enabled", "dormant", "hears_contacts"):
                raise ValueError(f"no attribute {name}")
            setattr(credential, name, frozenset(value) if isinstance(value, list) else value)
        return _credential(credential)

    async def counters(self, ask: dict[str, Any]) -> object:
        limits = self._simulator.limits
        violations = [{"path": path, "errcode": code, "count": n} for (path, code), n in limits.violations.items()]
        calls = {"total": self._simulator.calls.total, "paths": self._simulator.calls.per_path}
        return {"calls": calls, "peak": limits.peak, "violations": violations, "callbacks": self._sent()}

    def _sent(self) -> dict[str, Any]:
        return self._simulator.callbacks.counts()

    async def calls(self, ask: dict[str, Any]) -> object:
        limit = int(ask.get("limit", 100))
        return {"items": [call.shown() for call in list(self._simulator.calls)[-limit:]]}

    async def faults(self, ask: dict[str, Any]) -> object:
        names = ("kind", "errcode", "status", "seconds", "path", "call", "nth", "times", "struck")
        return {"items": [{name: getattr(fault, name) for name in names} for fault in self._simulator.faults]}

    async def add_fault(self, ask: dict[str, Any]) -> object:
        self._simulator.faults.append(parse(ask))
        return await self.faults({})

    async def clear_faults(self, ask: dict[str, Any]) -> object:
        self._simulator.faults.clear()
        return await self.faults({})

    async def reset(self, ask: dict[str, Any]) -> object:
        self._simulator.reset()
        return await self.counters({})

    async def settings(self, ask: dict[str, Any]) -> object:
        shown = dataclasses.asdict(self._simulator.settings)
        return shown | {"lag": min(shown["lag"], sys.float_info.max)}  # JSON has no infinity

    async def change_settings(self, ask: dict[str, Any]) -> object:
        change(self._simulator.settings, ask)
        self._simulator.lag(self._simulator.settings.lag)
        return await self.settings({})

    async def clock(self, ask: dict[str, Any]) -> object:
        self._simulator.clock.advance(float(ask["advance"]))
        return {"now": self._simulator.clock.now()}

    async def tokens(self, ask: dict[str, Any]) -> object:
        actions = {"expire": self._simulator.tokens.expire, "invalidate": self._simulator.tokens.invalidate}
        actions[ask["action"]](self._named(ask) if "credential" in ask else None)
        return {}

    async def receivers(self, ask: dict[str, Any]) -> object:
        saved = self._simulator.callbacks.receivers
        return {name: {"url": one.url, "form": one.form} for name, one in saved.items()}

    async def save_receiver(self, ask: dict[str, Any]) -> object:
        credential = self._company.credentials[ask.get("receiver", "contacts")]
        saved = await self._simulator.callbacks.save(
            credential, ask["url"], ask["token"], ask["encoding_aes_key"], ask.get("form", "ids")
        )
        return {"ok": saved.ok, "message": saved.message, "reason": saved.reason}

    async def remove_receiver(self, ask: dict[str, Any]) -> object:
        self._simulator.callbacks.remove(self._company.credentials[ask.get("receiver", "contacts")])
        return await self.receivers({})

    async def deliveries(self, ask: dict[str, Any]) -> object:
        latest = list(self._simulator.callbacks.deliveries)[-int(ask.get("limit", 100)) :]
        names = ("xml", "spoil", "outcome", "answers")
        return {"items": [{name: getattr(one, name) for name in names} for one in latest]}

    async def push(self, ask: dict[str, Any]) -> object:
        receiver = self._simulator.callbacks.receivers[ask.get("receiver", "contacts")]
        self._simulator.callbacks.push(ask["xml"], receiver, ask.get("spoil"))
        return self._sent()

    async def live(self, ask: dict[str, Any]) -> object:
        await self._simulator.live.start(float(ask.get("rate", 1)))
        return {"rate": self._simulator.live.rate}

    async def rest(self, ask: dict[str, Any]) -> object:
        await self._simulator.live.stop()
        return {"rate": self._simulator.live.rate}

    def _named(self, ask: dict[str, Any]) -> Credential:
        return self._company.credentials[ask.get("credential", "app")]


def _credential(credential: Credential) -> dict[str, Any]:
    shown = {name: getattr(credential, name) for name in Credential.__slots__ if name != "visible"}
    shown |= {name: sorted(value) for name, value in shown.items() if isinstance(value, frozenset)}
    visible = credential.visible
    ranges = {"departments": sorted(visible.departments), "tags": sorted(visible.tags)}
    return shown | {"visible": {"users": sorted(visible.users), **ranges}}


def _event(event: Event) -> dict[str, Any]:
    shown = {"change_type": event.change_type, "key": event.key, "new_key": event.new_key, "created": event.created}
    return shown | {"agent_id": event.agent_id, "changed": sorted(event.changed), "ids_only": event.raised_in("ids")}
