"""The table of errcodes and its words."""

import re
import string

import pytest

from app.core.texts import LANGUAGES, Text
from app.errors import AskAdmin, ServiceError, SkipOne, TryLater, Upstream
from app.sources.wecom.errcodes import BREAKS, TABLE, TEXTS, to_error
from tests.sources.golden import GOLDEN

CONFIGURATION = [errcode for errcode in GOLDEN if errcode not in (40014, 42001)]
PASSING = [-1, 6000, 40014, 42001, 45009, 45033, 45035, 45036, 50100, 60268]
GONE = [40003, 40066, 40068, 46004, 60003, 60004, 60021, 60111, 60123, 60136, 92000, 301021]


def placeholders(text: Text) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text.title + text.hint) if name}


@pytest.mark.parametrize(
    ("errcodes", "who"), [(CONFIGURATION, AskAdmin), (PASSING, TryLater), (GONE, SkipOne)], ids=["C", "B T W", "G"]
)
def test_each_errcode_says_who_acts_next(errcodes: list[int], who: type[ServiceError]) -> None:
    assert {errcode: type(to_error(errcode, "", "user/get")) for errcode in errcodes} == dict.fromkeys(errcodes, who)
    assert "wecom.unknown_errcode" not in {to_error(errcode, "", "user/get").code for errcode in errcodes}


def test_each_errcode_has_the_code_that_its_cause_asks_for() -> None:
    assert {errcode: to_error(errcode, "", "user/get").code for errcode in GOLDEN} == GOLDEN


def test_every_refusal_has_its_words_filled() -> None:
    for errcode in TABLE:
        error = to_error(errcode, "from ip: 203.0.113.7, more", "user/get")
        assert error.code in TEXTS
        assert error.message
        assert error.hint
        assert "{" not in error.message + error.hint
        assert error.params["errcode"] == errcode
        assert error.upstream == Upstream(errcode, "from ip: 203.0.113.7, more")


@pytest.mark.parametrize("code", TEXTS)
def test_every_code_has_three_languages_with_the_same_placeholders(code: str) -> None:
    texts = TEXTS[code]
    assert tuple(texts) == LANGUAGES == ("en", "zh-CN", "fr")
    assert len({frozenset(placeholders(text)) for text in texts.values()}) == 1
    assert len({text.title for text in texts.values()}) == 3
    assert all(text.title and bool(text.hint) == bool(texts["en"].hint) for text in texts.values())
    assert re.fullmatch(r"(wecom|source|check|callback)\.[a-z_]+", code)


@pytest.mark.parametrize("code", TEXTS)
def test_the_names_of_menus_are_the_same_in_every_language(code: str) -> None:
    """The console is in Chinese, so what is Chinese in the English words is in the French and the Chinese ones too."""
    chinese = {
        menu for text in (TEXTS[code]["en"],) for menu in re.findall(r"[\u4e00-\u9fff]+", text.title + text.hint)
    }
    for language in ("fr", "zh-CN"):
        text = TEXTS[code][language].title + TEXTS[code][language].hint
        assert {menu for menu in chinese if menu not in text} == set()


def test_an_address_that_is_not_trusted_is_named() -> None:
    errmsg = (
        "not allow to access from your ip, hint: [1694000000123], from ip: 203.0.113.7, more info at https://x?e=60020"
    )
    error = to_error(60020, errmsg, "user/list")
    assert error.code == "wecom.ip_not_trusted"
    assert error.params["ip"] == "203.0.113.7"
    assert error.message == "WeCom refused requests coming from 203.0.113.7."
    assert "企业可信IP" in error.hint
    assert TEXTS[error.code]["zh-CN"].filled(error.params).title == "企业微信拒绝了来自 203.0.113.7 的请求。"


@pytest.mark.parametrize(
    ("errmsg", "ip"), [("from ip: 2001:db8::7, more", "2001:db8::7"), ("", "?"), ("from ip: <b>", "?")]
)
def test_the_address_is_an_address(errmsg: str, ip: str) -> None:
    assert to_error(60020, errmsg, "user/list").params["ip"] == ip


def test_the_contacts_secret_from_a_new_address_is_explained() -> None:
    error = to_error(48009, "api forbidden for contact assistant", "user/get")
    assert "contacts secret" in error.message
    assert "the app secret must read the details" in error.hint


def test_an_unknown_errcode_is_the_administrators() -> None:
    error = to_error(99999, "something new", "user/get")
    assert isinstance(error, AskAdmin)
    assert (error.code, error.params) == ("wecom.unknown_errcode", {"errcode": 99999, "api": "user/get"})
    assert "99999" in error.message


def test_a_limit_says_how_long() -> None:
    for errcode in (45009, 45036):
        error = to_error(errcode, "", "user/get")
        assert isinstance(error, TryLater)
        assert error.after == 60


def test_errmsg_is_cut_and_printable() -> None:
    upstream = to_error(-1, "a\0b\n" + "x" * 10_000, "user/get").upstream
    assert upstream is not None
    assert upstream.errmsg == "ab" + "x" * 498


def test_a_text_without_its_values_is_still_a_text() -> None:
    assert Text("{a} and {b}", "{a}").filled({"a": "{b}"}) == Text("{b} and {b}", "{b}")


def test_only_the_administrator_can_end_what_breaks_a_credential() -> None:
    assert all(isinstance(to_error(errcode, "", "gettoken"), AskAdmin) for errcode in BREAKS)
