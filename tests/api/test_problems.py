"""Errors: one shape, stable codes, three languages, and never a word of what was sent or of our inside."""

import ast
import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from string import Formatter

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

import app
from app import logs
from app.api.field_texts import FIELD_TEXTS, OTHERWISE
from app.api.language import LANGUAGES, negotiate
from app.api.middleware import ResponseCut
from app.api.texts import TEXTS, said
from app.errors import AskAdmin, Fenced, Refused, ServiceError, SkipOne, TryLater, Upstream
from app.sources.kinds import KINDS
from app.targets.kinds import KINDS as TARGET_KINDS
from tests.api.harness import TOKEN, Api, client_of

ROOT = Path(app.__file__).parent
EVERY_KIND = (*KINDS.values(), *TARGET_KINDS.values())
MAKERS = {"ServiceError", "TryLater", "AskAdmin", "SkipOne", "Refused", "_warn"}


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "en"),
        ("", "en"),
        ("zh", "zh-CN"),
        ("zh-Hans", "zh-CN"),
        ("zh-cn,en;q=0.5", "zh-CN"),
        ("fr-CA;q=0.9, en;q=0.8", "fr"),
        ("de, fr;q=0.3, en;q=0.4", "en"),
        ("de", "en"),
        ("*", "en"),
        ("fr;q=0", "en"),
        ("fr;q=x, zh;q=0.1", "zh-CN"),
        (";;;,,=" * 500, "en"),
    ],
)
def test_the_language_is_negotiated(header: str | None, language: str) -> None:
    assert negotiate(header) == language


def codes_raised() -> Iterator[tuple[str, str]]:
    """Every literal code that an error or a warning of ours is made with, and where."""
    for path in sorted(ROOT.rglob("*.py")):
        if path.relative_to(ROOT).parts[0] == "simulator" or path.name == "examples.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            for given in codes_in(node):
                if isinstance(given, ast.Constant) and isinstance(given.value, str):
                    yield given.value, f"{path.relative_to(ROOT)}:{given.lineno}"


def codes_in(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Dict):
        return [
            v for k, v in zip(node.keys, node.values, strict=True) if isinstance(k, ast.Constant) and k.value == "code"
        ]
    if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in MAKERS:
        named = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
        return named or node.args[:1]
    return []


def all_texts(code: str) -> list[tuple[str, ...]]:
    """(title, detail, hint) of a code in each language."""
    if code in TEXTS:
        return [(own.title, own.detail, own.hint) for own in (TEXTS[code][language] for language in LANGUAGES)]
    provided = [kind.texts[code] for kind in EVERY_KIND if code in kind.texts]
    return [(text.title, text.hint) for texts in provided for text in (texts[language] for language in LANGUAGES)]


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def test_every_code_that_is_raised_has_its_texts() -> None:
    found = dict(codes_raised())
    assert len(found) > 15
    missing = {code: where for code, where in found.items() if not all_texts(code)}
    assert missing == {}


@pytest.mark.parametrize("code", sorted({*TEXTS, *(code for kind in EVERY_KIND for code in kind.texts)}))
def test_the_three_languages_say_the_same(code: str) -> None:
    texts = all_texts(code)
    assert len(texts) == 3
    assert re.fullmatch(r"[a-z_]+(\.[a-z_]+)*", code)
    for parts in zip(*texts, strict=True):
        assert len({bool(part.strip()) for part in parts}) == 1, parts
        assert len({frozenset(placeholders(part)) for part in parts}) == 1, parts
        assert not parts[0] or len(set(parts)) == 3, parts
        assert not parts[1] or re.search(r"[\u4e00-\u9fff]", parts[1]) or parts[1] == parts[0]


@pytest.mark.parametrize("kind", [*FIELD_TEXTS, None])
def test_the_words_for_fields_exist_in_three_languages(kind: str | None) -> None:
    texts = FIELD_TEXTS[kind] if kind else OTHERWISE
    assert set(texts) == set(LANGUAGES)
    assert len({frozenset(placeholders(text)) for text in texts.values()}) == 1


def test_an_old_record_without_its_params_stays_readable() -> None:
    code = next(code for code in KINDS["wecom"].texts if placeholders(KINDS["wecom"].texts[code]["en"].title))
    assert "…" in said(code, "en", {}, "", "").title
    assert said("of.tomorrow", "fr", {}, "message", "hint").detail == "message"


async def test_a_problem_has_every_member(light: Api) -> None:
    answer = await light.client.get(
        "/api/v1/sources/src_x", headers={"Accept-Language": "zh-Hans", "X-Request-ID": "my-request.1"}
    )
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["content-language"] == "zh-CN"
    assert answer.headers["vary"] == "Accept-Language"
    assert answer.headers["x-request-id"] == "my-request.1"
    assert answer.json() == {
        "type": "/docs/errors#source.not_found",
        "title": "未找到来源",
        "status": 404,
        "detail": "没有这个来源。",
        "instance": "/api/v1/sources/src_x",
        "code": "source.not_found",
        "request_id": "my-request.1",
    }


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "<script>", "é"])
async def test_a_request_id_that_is_none_is_replaced(light: Api, given: str) -> None:
    answer = await light.client.get("/healthz", headers={"X-Request-ID": given.encode()})
    assert re.fullmatch(r"req_[0-9a-f]{20}", answer.headers["x-request-id"])


@pytest.mark.parametrize("path", ["/api/v1/sources", "/api/v1/nothing", "/api/v1", "/metrics"])
@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", TOKEN]
)
async def test_without_the_token_there_is_401(light: Api, path: str, header: str | None) -> None:
    async with client_of(light.app) as stranger:
        stranger.headers.pop("authorization")
        headers = {} if header is None else {"Authorization": header}
        answer = await stranger.post(path, content=b"{", headers=headers | {"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (401, "request.unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_the_scheme_is_read_in_any_case(light: Api) -> None:
    answer = await light.client.get("/api/v1/sources", headers={"Authorization": f"bearer {TOKEN}"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/nothing", 404, "request.not_found"),
        ("GET", "/api/v1/sources/", 404, "request.not_found"),
        ("GET", "/nothing", 404, "request.not_found"),
        ("GET", "/docs/assets/../main.py", 404, "request.not_found"),
        ("GET", "/docs/assets/passwd", 404, "request.not_found"),
        ("PUT", "/api/v1/sources", 405, "request.method_not_allowed"),
        ("POST", "/healthz", 405, "request.method_not_allowed"),
    ],
)
async def test_the_routers_own_refusals_are_problems(
    light: Api, method: str, path: str, status: int, code: str
) -> None:
    answer = await light.client.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert ("allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"{", 422, "request.invalid"),
        (b"", 422, "request.invalid"),
        (b"null", 422, "request.invalid"),
        (b"[]", 422, "request.invalid"),
        (b'{"name": "\xff"}', 400, "request.malformed"),
        (b"[" * 200_000, 400, "request.malformed"),
        (b'{"name": ' + b"9" * 5_000 + b"}", 400, "request.malformed"),
        (b'{"name": NaN, "config": {}}', 422, "request.invalid"),
        (b'{"guard": {"max_percent": Infinity}}', 422, "request.invalid"),
        (b" " * (1 << 20) + b"{}", 413, "request.too_large"),
    ],
    ids=range(10),
)
async def test_bodies_that_are_none(light: Api, content: bytes, status: int, code: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await light.client.post("/api/v1/sources", content=content, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_body_that_is_not_called_json_is_not_read(light: Api) -> None:
    answer = await light.client.post("/api/v1/sources", content=b'{"name": "a", "config": {"corp_id": "ww1"}}')
    assert answer.status_code == 422


async def test_an_unannounced_body_is_cut_off(light: Api) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b" " * 65_536

    headers = {"Content-Type": "application/json"}
    answer = await light.client.post("/api/v1/sources", content=endless(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "request.too_large")


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (Refused("run.finished", "x"), 409, {}),
        (Refused("run.finished", "x", status=418, headers={"Allow": "tea"}), 418, {"allow": "tea"}),
        (TryLater("database.unavailable", "x"), 503, {"retry-after": "2"}),
        (TryLater("database.unavailable", "x", after=90.4), 503, {"retry-after": "90"}),
        (AskAdmin("wecom.secret_wrong", "x", upstream=Upstream(40001, "invalid")), 502, {}),
        (SkipOne("wecom.bad_record", "x"), 502, {}),
        (ServiceError("server.error", "x"), 500, {}),
        (Fenced("lease"), 503, {"retry-after": "1"}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_who_acts_next_decides_the_status(
    light: Api, error: Exception, status: int, headers: dict[str, str]
) -> None:
    answer = await provoked(light.app, error)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert {name: answer.headers[name] for name in headers} == headers
    upstream = {"errcode": 40001, "errmsg": "invalid"} if status == 502 and isinstance(error, AskAdmin) else None
    assert answer.json().get("upstream") == upstream


async def test_a_bug_is_answered_and_logged_without_its_words(
    light: Api, capsys: pytest.CaptureFixture[str], logging_untouched: None
) -> None:
    logs.configure("debug", "json")
    answer = await provoked(light.app, ValueError("mobile 13800000000 of canary"))
    assert (answer.status_code, answer.json()["code"]) == (500, "server.error")
    assert "canary" not in answer.text
    entries = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (entry,) = [entry for entry in entries if entry["event"] == "unexpected"]
    assert "ValueError" in entry["exception"]
    assert "test_problems.py" in entry["exception"]
    assert entry["request_id"] == answer.headers["x-request-id"]
    assert "canary" not in str(entries)
    assert "13800000000" not in str(entries)


async def provoked(application: FastAPI, error: Exception) -> httpx.Response:
    """The answer of a route that raises this."""

    async def get_trouble() -> None:
        raise error

    application.add_api_route("/trouble", get_trouble)
    try:
        async with client_of(application) as client:
            return await client.get("/trouble")
    finally:
        application.router.routes.pop()


async def test_half_an_answer_is_cut_off(
    light: Api, capsys: pytest.CaptureFixture[str], logging_untouched: None
) -> None:
    """What has begun cannot become a 500 any more, and must not look whole either."""
    logs.configure("debug", "json")

    async def get_half() -> StreamingResponse:
        async def parts() -> AsyncIterator[str]:
            yield "half"
            raise ValueError("canary")

        return StreamingResponse(parts())

    light.app.add_api_route("/half", get_half)
    with pytest.raises(ResponseCut) as caught:
        await light.client.get("/half")
    assert caught.value.__suppress_context__
    written = capsys.readouterr().err
    assert '"event": "unexpected"' in written
    assert "canary" not in written


async def test_a_client_that_leaves_is_no_bug(
    light: Api, capsys: pytest.CaptureFixture[str], logging_untouched: None
) -> None:
    """The connection ends in the middle of a body."""
    logs.configure("debug", "json")
    source = await light.source()
    path = source["callback_url"].removeprefix("https://sync.example.com")
    sent = []

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
    scope |= {"headers": [], "root_path": "", "scheme": "http", "server": ("service", 80), "http_version": "1.1"}
    await asyncio.wait_for(light.app(scope, receive, send), 5)
    assert sent == []
    entries = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(entry["event"], entry["level"]) for entry in entries[-2:]] == [
        ("client left", "debug"),
        ("request", "info"),
    ]
    assert path not in str(entries)
