"""The log holds no secrets and no people's data."""

import pytest

from app import logs
from app.errors import AskAdmin


@pytest.mark.parametrize(
    "text",
    [
        "GET https://qyapi.weixin.qq.com/cgi-bin/user/get?access_token=Canary&userid=x",
        "postgresql://user:Canary@host/name",
        "http://Canary@proxy:3128",
        "Authorization: Bearer Canary",
        "corpsecret=Canary and more",
        "msg_signature=Canary",
        "Canary@example.com called",
        "phone 13800138000",
        "phone +8613800138000",
        "phone +85298765432",
    ],
)
def test_what_looks_like_a_secret_or_a_person_is_hidden(text: str) -> None:
    shown = logs.clean(text)
    assert "Canary" not in shown
    assert "98765432" not in shown
    assert "13800138000" not in shown
    assert logs.HIDDEN in shown


@pytest.mark.parametrize(
    "text",
    [
        "run_01m82q2nyy938rsvqxcjjab3c1 of src_01m82q2nyy938rsvqxcjjab3c1",
        "http://127.0.0.1:8000",
        "serve@host:8000",
        "2026-11-22T22:47:28.390716Z",
        "12 of 13800138000123 bytes",
    ],
)
def test_what_is_needed_to_find_a_fault_stays(text: str) -> None:
    assert logs.clean(text) == text


def test_values_are_hidden_by_their_names_however_deep() -> None:
    event = {
        "event": "x",
        "app_secret": "Canary",
        "people": [{"mobile": "Canary", "userid": "lisi"}],
        "given": {"Authorization": "Canary", "ok": True},
        "answer": ("see https://x/y?key=Canary", 3),
        "token": None,
    }
    assert logs.redact(None, "info", event) == {
        "event": "x",
        "app_secret": "***",
        "people": [{"mobile": "***", "userid": "lisi"}],
        "given": {"Authorization": "***", "ok": True},
        "answer": ["see https://x/y?***", 3],
        "token": None,
    }


def test_an_exception_is_its_classes_and_places() -> None:
    password = "LocalCanary"
    try:
        try:
            raise ValueError("MessageCanary")
        except ValueError as error:
            raise AskAdmin("keys.cannot_open", "DetailCanary") from error
    except AskAdmin as error:
        event = logs.anatomy(None, "error", {"event": "bug", "exc_info": error})
    lines = event["exception"].splitlines()
    assert lines[0] == "app.errors.AskAdmin (keys.cannot_open)"
    assert "  from builtins.ValueError" in lines
    assert any(
        "test_logs.py" in line and line.endswith("in test_an_exception_is_its_classes_and_places") for line in lines
    )
    assert "Canary" not in event["exception"]
    assert "exc_info" not in event
    assert password


def test_a_group_of_exceptions_shows_each() -> None:
    group = ExceptionGroup("MessageCanary", [KeyError("a"), OSError("b")])
    event = logs.anatomy(None, "error", {"event": "bug", "exc_info": (ExceptionGroup, group, None)})
    assert [line.strip() for line in event["exception"].splitlines()] == [
        "builtins.ExceptionGroup",
        "from builtins.KeyError",
        "from builtins.OSError",
    ]
