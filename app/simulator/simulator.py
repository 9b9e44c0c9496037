"""The simulated server: takes a call through logs, hooks, faults and checks to its answer."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from app.simulator import control
from app.simulator.api import ENDPOINTS, Ask, Cursors, Endpoint, Refused
from app.simulator.callbacks import Callbacks
from app.simulator.calls import Barrier, Call, CallLog, Hook, When
from app.simulator.churn import Churn, Live
from app.simulator.company import Company
from app.simulator.faults import Fault, Faults
from app.simulator.lag import LaggingReads
from app.simulator.limits import Limits
from app.simulator.permissions import Credential, Views
from app.simulator.settings import Clock, SimulatorSettings
from app.simulator.tokens import Tokens

HELP = "https://open.work.weixin.qq.com/devtool/query?e="


class ConnectionCut(httpx.RemoteProtocolError):
    """Ends an answer in its middle: a server closes the connection, an in-process transport raises it as it is."""


class Simulator:
    """A WeCom server for one company; `app` is its ASGI application.

    Drive it in the same process: change `company`, `settings` and `faults` at any time, look at `calls` and `limits`,
    step in between calls with `before_call` and `hold`, send events with `callbacks`. Its `clock` is the company's too.
    """

    def __init__(
        self,
        company: Company,
        settings: SimulatorSettings | None = None,
        *,
        callback_transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.company = company
        self.settings = settings or SimulatorSettings()
        self.clock = Clock()
        company.now = self.clock.now
        self.tokens = Tokens(self.clock, self.settings)
        self.limits = Limits(self.clock, self.settings)
        self.faults = Faults()
        self.calls = CallLog(self.settings.log_size)
        self.callbacks = Callbacks(company, self.settings, self.clock, callback_transport)
        self.churn = Churn(company)
        self.live = Live(self.churn)
        self._hooks: list[Hook] = []
        self._barriers: list[Barrier] = []
        self._reads = LaggingReads(company.records, self.clock, self.settings)
        self._views = Views()
        self._cursors = Cursors(self.clock, self.settings)
        self.lag(self.settings.lag)
        self.app = self._application()

    # Stepping in

    def before_call(self, when: When, action: Callable[[], Any], *, times: int | None = 1) -> Hook:
        """Run `action` (it may be a coroutine function) before a call is answered.

        `when`: a call number since the log was last cleared, a path such as "user/list", or a test of the Call;
        `times` None: at every such call.
        """
        hook = Hook(when, action, times)
        self._hooks.append(hook)
        return hook

    def hold(self, when: When, *, nth: int = 1, answered: bool = False) -> Barrier:
        """Hold the nth such call and those after it until `release()`; `answered`: once their data have been read."""
        barrier = Barrier(when, answered, nth)
        self._barriers.append(barrier)
        return barrier

    def lag(self, seconds: float) -> None:
        """From now on reads show each change only after so many seconds (`math.inf`: until `catch_up`; 0: at once)."""
        self.settings.lag = seconds
        if seconds:
            self._reads.prepare()
        else:
            self._reads.catch_up()

    def catch_up(self) -> None:
        """End the lag: reads show everything at once."""
        self.lag(0.0)

    def release(self) -> None:
        """Open every barrier and forget it."""
        for barrier in self._barriers:
            barrier.release()
        self._barriers.clear()

    def reset(self) -> None:
        """Forget faults, hooks, barriers, calls and limits; the company and the settings stay."""
        self.release()
        self._hooks.clear()
        self.faults.clear()
        self.calls.clear()
        self.limits.reset()

    # Answering

    async def call(self, request: Request) -> Response:
        """One call of the API, from its log line to its answer."""
        path = request.path_params["path"]
        call = self.calls.begin(path, request.method, dict(request.query_params), self.clock.now())
        with self.limits.inside(path) as call.crowded:
            response = await self._handled(request, call)
        call.finished = self.clock.now()
        return response

    async def _handled(self, request: Request, call: Call) -> Response:
        body = await request.body()
        for hook in list(self._hooks):
            await hook.run(call)
        await self._wait(call, answered=False)
        if self.settings.latency:
            await asyncio.sleep(self.settings.latency)
        fault = self.faults.take(call)
        if fault is not None and fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
        response = self._answer(request, call, body, fault)
        await self._wait(call, answered=True)
        return response

    async def _wait(self, call: Call, *, answered: bool) -> None:
        for barrier in [one for one in self._barriers if one.answered is answered]:
            await barrier.pass_through(call)

    def _answer(self, request: Request, call: Call, body: bytes, fault: Fault | None) -> Response:
        if fault is not None:
            call.fault = fault.kind
        if call.path != "gettoken" and call.path not in ENDPOINTS:
            call.answer = "http 404"
            return Response(status_code=404)
        endpoint = ENDPOINTS.get(call.path)
        ip = self.settings.caller_ip or (request.client.host if request.client else "127.0.0.1")
        try:
            if fault is not None and fault.kind == "errcode":
                raise Refused(fault.errcode)
            shown = (
                self._token(call, request, ip) if endpoint is None else self._read(endpoint, call, request, body, ip)
            )
            response = _reply(0, "ok", shown)
        except Refused as refused:
            response = _refusal(refused, endpoint, ip, bool(body) and _parsed(body) is None)
        call.answer = int(response.headers["error-code"])
        return _spoilt(response, fault, call)

    def _token(self, call: Call, request: Request, ip: str) -> dict[str, Any]:
        """Page 91039, with its ladder of errors."""
        query = request.query_params
        if self.limits.barred or (code := self.limits.refusal("gettoken", call.crowded)):
            raise Refused(45009 if self.limits.barred else code)
        for name, code in (("corpsecret", 41004), ("corpid", 41002)):
            if not query.get(name):
                raise Refused(code)
        if query["corpid"] != self.company.corp_id:
            raise Refused(40013)
        known = [one for one in self.company.credentials.values() if one.secret == query["corpsecret"]]
        if not known or not known[0].enabled:
            self.limits.wrong_secret()
            raise Refused(40001)
        call.credential = known[0].name
        token, seconds = self.tokens.issue(known[0])
        return {"access_token": token, "expires_in": seconds}

    def _read(self, endpoint: Endpoint, call: Call, request: Request, body: bytes, ip: str) -> dict[str, Any]:
        token = request.query_params.get("access_token", "")
        if code := self.tokens.refusal(token):
            raise Refused(code)
        credential = self.tokens.holder(token)
        call.credential = credential.name
        parsed = _parsed(body) or {}
        call.params |= {name: value for name, value in parsed.items() if name not in call.params}
        if code := _barred(credential, call.path, ip) or self.limits.refusal(call.path, call.crowded):
            raise Refused(code)
        if endpoint.post and request.method != "POST":
            raise Refused(40058)
        view = self._views.of(self._reads.current(), credential)
        query = dict(request.query_params)
        return endpoint.answer(Ask(self.company, credential, view, self.settings, self._cursors, query, parsed))

    # The application

    def _application(self) -> Starlette:
        app = Starlette(
            routes=[
                Route("/cgi-bin/{path:path}", self.call, methods=["GET", "POST"]),
                Mount("/control", routes=control.routes(self)),
            ],
            exception_handlers={404: _nothing},
            lifespan=self._lifespan,
        )
        app.state.simulator = self
        return app

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        async with self.callbacks:
            try:
                yield
            finally:
                await self.live.stop()


def create_simulator(company: Company, settings: SimulatorSettings | None = None) -> Starlette:
    """The ASGI application of a simulated WeCom; its Simulator is `app.state.simulator`."""
    return Simulator(company, settings).app


async def _nothing(_request: Request, _error: Exception) -> Response:
    return Response(status_code=404)


def _barred(credential: Credential, path: str, ip: str) -> int:
    """Address, then the app's state, then its rights."""
    if credential.trusted_ips is not None and ip not in credential.trusted_ips:
        return 60020
    if not credential.enabled:
        return 50003
    return 48006 if credential.dormant else credential.refusal(path)


def _parsed(body: bytes) -> dict[str, Any] | None:
    try:
        parsed = json.loads(body) if body else {}
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _refusal(refused: Refused, endpoint: Endpoint | None, ip: str, malformed: bool) -> Response:
    text = ("Warning: wrong json format. " if malformed else "") + refused.text
    hint = random.randrange(10**18, 10**19)
    message = f"{text}, hint: [{hint}], from ip: {ip}, more info at {HELP}{refused.errcode}"
    return _reply(refused.errcode, message, {name: [] for name in (endpoint.empty if endpoint else ())})


def _reply(errcode: int, errmsg: str, shown: dict[str, Any]) -> Response:
    body = {"errcode": errcode, "errmsg": errmsg} | shown
    headers = {
        "Content-Type": "application/json; charset=UTF-8",
        "Error-Code": str(errcode),
        "Error-Msg": errmsg,
        "Server": "nginx",
    }
    return Response(json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(), headers=headers)


def _spoilt(response: Response, fault: Fault | None, call: Call) -> Response:
    """The answer as the fault leaves it."""
    if fault is None or fault.kind in ("errcode", "slow"):
        return response
    call.answer = f"http {fault.status}" if fault.kind == "http" else fault.kind
    body = bytes(response.body)
    if fault.kind == "cut":
        return _Cut(body)
    if fault.kind == "http":
        return Response(f"<html><h1>{fault.status}</h1></html>", fault.status, media_type="text/html")
    left = {"garbage": b"\xff\xfe<html>\x00", "truncated": body[: len(body) // 2], "empty": b""}[fault.kind]
    return Response(left, media_type="application/json")


class _Cut(Response):
    """Announces the whole body, sends half of it and breaks off."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        half = bytes(self.body)[: len(self.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
        raise ConnectionCut("the simulated WeCom cut the connection")
