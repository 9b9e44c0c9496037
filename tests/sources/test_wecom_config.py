"""What a source may be configured with, and that its secrets stay secret."""

import pytest
from pydantic import ValidationError

from app.core.ports import CallbackPair
from app.sources.kinds import KINDS
from app.sources.wecom.config import DEFAULT_BASE_URL, SECRET_FIELDS, WeComConfig

KEY = "6qkdMrq68nTKduznJYO1A37W2oEgpkMUvkttRToqhUt"
WHOLE = {
    "corp_id": "ww1436e0e65a779aee",
    "agent_id": 1000002,
    "app_secret": "canary-app-secret",
    "contacts_secret": "canary-contacts-secret",
    "token": "canarytoken",
    "encoding_aes_key": KEY,
    "extra_callback_pairs": [{"token": "canaryextra", "encoding_aes_key": KEY[::-1]}],
    "base_url": "https://wecom.example.com/private",
    "proxy": "http://user:canary-password@proxy.example.com:3128",
}


def pointers(**values: object) -> list[tuple[object, ...]]:
    """Where the complaints about a configuration are."""
    with pytest.raises(ValidationError) as refused:
        WeComConfig(**{"corp_id": "ww1", **values})
    return [error["loc"] for error in refused.value.errors()]


def test_a_company_id_is_enough() -> None:
    config = WeComConfig(corp_id="ww1")
    assert config.base_url == DEFAULT_BASE_URL
    assert config.callback_pairs() == []


def test_revealed_is_what_was_entered() -> None:
    assert WeComConfig(**WHOLE).revealed() == WHOLE
    assert WeComConfig(**WeComConfig(**WHOLE).revealed()) == WeComConfig(**WHOLE)


def test_nothing_else_shows_a_secret() -> None:
    config = WeComConfig(**WHOLE)
    shown = repr(config) + str(config) + config.model_dump_json() + repr(config.callback_pairs())
    assert "canary" not in shown
    assert KEY not in shown
    assert {name for name, value in config.revealed().items() if "canary" in str(value) or KEY in str(value)} == set(
        SECRET_FIELDS
    )


def test_complaints_do_not_repeat_what_was_entered() -> None:
    for name, value in {
        "app_secret": "canary secret",
        "token": "canary-token",
        "encoding_aes_key": "canary",
        "proxy": "ftp://canary",
        "base_url": "ftp://user:canary@host",
    }.items():
        with pytest.raises(ValidationError) as refused:
            WeComConfig(**{"corp_id": "ww1", name: value})
        assert "canary" not in str(refused.value)
        assert "canary" not in "".join(error["msg"] for error in refused.value.errors())


def test_the_pairs_know_their_receiver() -> None:
    assert WeComConfig(**WHOLE).callback_pairs() == [
        CallbackPair("canarytoken", KEY, "ww1436e0e65a779aee"),
        CallbackPair("canaryextra", KEY[::-1], "ww1436e0e65a779aee"),
    ]


@pytest.mark.parametrize("corp_id", ["", "w" * 65, "ww 1", "ww1\n", "企业", "ww1/../x"])
def test_a_company_id_that_cannot_be_one(corp_id: str) -> None:
    assert pointers(corp_id=corp_id) == [("corp_id",)]


@pytest.mark.parametrize("secret", ["", " ", "two words", "line\n", "\0", "s" * 513])
@pytest.mark.parametrize("name", ["app_secret", "contacts_secret"])
def test_a_secret_that_cannot_be_one(name: str, secret: str) -> None:
    assert pointers(**{name: secret}) == [(name,)]


@pytest.mark.parametrize("key", ["", KEY[:-1], KEY + "A", KEY[:-1] + "+", KEY[:-1] + "=", KEY + "\n", KEY[:-1] + "é"])
def test_an_aes_key_has_43_letters_or_digits(key: str) -> None:
    assert pointers(token="abc", encoding_aes_key=key) == [("encoding_aes_key",)]
    assert pointers(extra_callback_pairs=[{"token": "abc", "encoding_aes_key": key}]) == [
        ("extra_callback_pairs", 0, "encoding_aes_key")
    ]


@pytest.mark.parametrize("token", ["", "a" * 33, "a-b", "a b", "a\n", "令牌"])
def test_a_token_has_up_to_32_letters_or_digits(token: str) -> None:
    assert pointers(token=token, encoding_aes_key=KEY) == [("token",)]


def test_token_and_key_come_together() -> None:
    assert pointers(token="abc") == [()]
    assert pointers(encoding_aes_key=KEY) == [()]


def test_four_more_pairs_and_no_fifth() -> None:
    pair = {"token": "abc", "encoding_aes_key": KEY}
    assert len(WeComConfig(corp_id="ww1", extra_callback_pairs=[pair] * 4).callback_pairs()) == 4
    assert pointers(extra_callback_pairs=[pair] * 5) == [("extra_callback_pairs",)]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "qyapi.weixin.qq.com",
        "ftp://wecom.example.com",
        "https://",
        "https:///path",
        "https://user:password@wecom.example.com",
        "https://wecom.example.com?a=b",
        "https://wecom.example.com#a",
        "https://wecom.example.com:port",
        "https://wecom example.com",
        "https://wecom.example.com\n",
        "https://[::1",
        "javascript:alert(1)",
    ],
)
def test_a_base_url_is_http(url: str) -> None:
    assert pointers(base_url=url) == [("base_url",)]


def test_a_base_url_may_have_a_path_but_no_slash_at_its_end() -> None:
    assert WeComConfig(corp_id="ww1", base_url="http://10.0.0.1:8080/wecom/").base_url == "http://10.0.0.1:8080/wecom"


@pytest.mark.parametrize("url", ["http://p:3128", "https://p", "socks5://u:p@p:1080", "socks5h://p:1080"])
def test_a_proxy(url: str) -> None:
    assert WeComConfig(corp_id="ww1", proxy=url).revealed()["proxy"] == url


@pytest.mark.parametrize("url", ["", "p:3128", "ftp://p", "socks4://p", "http://"])
def test_a_proxy_that_cannot_be_one(url: str) -> None:
    assert pointers(proxy=url) == [("proxy",)]


@pytest.mark.parametrize("agent_id", [-1, 2**63, "app", 1.5])
def test_an_agent_id_is_a_number(agent_id: object) -> None:
    assert pointers(agent_id=agent_id) == [("agent_id",)]


def test_unknown_fields_are_refused() -> None:
    assert pointers(corpid="ww1") == [("corpid",)]
    assert pointers(extra_callback_pairs=[{"token": "a", "encoding_aes_key": KEY, "url": "x"}]) == [
        ("extra_callback_pairs", 0, "url")
    ]


def test_the_schema_says_what_is_write_only() -> None:
    fields = WeComConfig.model_json_schema()["properties"]
    assert {name for name in fields if "writeOnly" in str(fields[name])} >= set(SECRET_FIELDS) - {
        "extra_callback_pairs"
    }


def test_the_registry_offers_what_a_source_needs() -> None:
    kind = KINDS["wecom"]
    config = kind.config.model_validate(WHOLE)
    assert kind.callback_pairs(config)[0].receiver == "ww1436e0e65a779aee"
    assert kind.fresh_pair(config).receiver == "ww1436e0e65a779aee"
    assert kind.revealed(config) == WHOLE
    assert set(kind.secret_fields) < set(kind.config.model_fields)
    assert set(KINDS) == {"wecom"}
