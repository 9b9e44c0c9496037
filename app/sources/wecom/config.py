"""What a WeCom source is configured with: the `config` object of the API, checked for its form only."""

import re
from collections.abc import Callable
from typing import Annotated, Any, Final, Self

import httpx
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from app.core.ports import CallbackPair

DEFAULT_BASE_URL: Final = "https://qyapi.weixin.qq.com"

SECRET_FIELDS: Final = ("app_secret", "contacts_secret", "token", "encoding_aes_key", "extra_callback_pairs", "proxy")
"""The fields of `WeComConfig` that are sealed when stored and never shown (a proxy's URL may hold a password)."""

ADDRESS_FIELDS: Final = ("base_url", "proxy")
SENT_FIELDS: Final = ("app_secret", "contacts_secret")
"""The secrets that are sent to an address; Token and EncodingAESKey never leave us."""

MAX_EXTRA_PAIRS: Final = 4


def _secret(pattern: str, words: str) -> Callable[[SecretStr], SecretStr]:
    """A check whose complaint describes the form and never repeats the value."""
    form = re.compile(pattern)

    def check(value: SecretStr) -> SecretStr:
        if not form.fullmatch(value.get_secret_value()):
            raise ValueError(f"must be {words}")
        return value

    return check


def _address(value: str, schemes: tuple[str, ...]) -> str:
    """A URL with one of these schemes and a host; raises ValueError, without repeating the value."""
    try:
        url = httpx.URL(value)
        usable = url.scheme in schemes and bool(url.host) and not re.search(r"[\s\x00-\x20\x7f]", value)
    except httpx.InvalidURL:
        usable = False
    if not usable:
        raise ValueError(f"must be a URL that starts with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    return value


def _base_url(value: str) -> str:
    url = httpx.URL(_address(value, ("http", "https")))
    if url.userinfo or "?" in value or "#" in value:
        raise ValueError("must not hold a user name, a query or a fragment")
    return value.rstrip("/")


def _proxy(value: SecretStr) -> SecretStr:
    _address(value.get_secret_value(), ("http", "https", "socks5", "socks5h"))
    return value


_WRITE_ONLY: Final[dict[str, Any]] = {"writeOnly": True}
Secret = Annotated[
    SecretStr,
    AfterValidator(_secret(r"[^\s\x00-\x1f\x7f]{1,512}", "1 to 512 characters without spaces")),
    Field(json_schema_extra=_WRITE_ONLY),
]
CallbackToken = Annotated[
    SecretStr,
    AfterValidator(_secret(r"[A-Za-z0-9]{1,32}", "1 to 32 letters or digits")),
    Field(json_schema_extra=_WRITE_ONLY | {"pattern": "^[A-Za-z0-9]{1,32}$"}),
]
EncodingAESKey = Annotated[
    SecretStr,
    AfterValidator(_secret(r"[A-Za-z0-9]{43}", "exactly 43 letters or digits")),
    Field(json_schema_extra=_WRITE_ONLY | {"pattern": "^[A-Za-z0-9]{43}$"}),
]


class CallbackPairConfig(BaseModel):
    """Token and EncodingAESKey of one more receiver that shares the callback URL."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    token: CallbackToken
    encoding_aes_key: EncodingAESKey


class WeComConfig(BaseModel):
    """Any subset of the credentials is valid: a callback can be verified before an API credential exists."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    corp_id: str = Field(
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
        description="企业ID, under 我的企业 → 企业信息.",
        examples=["ww1436e0e65a779aee"],
    )
    agent_id: int | None = Field(
        None, ge=0, lt=2**63, description="AgentId of the app; found by itself when left out.", examples=[1000002]
    )
    app_secret: Secret | None = Field(None, description="Secret of the self-built app (自建应用): reads the details.")
    contacts_secret: Secret | None = Field(
        None, description="Secret of the contacts assistant (通讯录同步): proves who is still in the company."
    )
    token: CallbackToken | None = Field(None, description="Token of the callback, as entered in WeCom.")
    encoding_aes_key: EncodingAESKey | None = Field(None, description="EncodingAESKey of the callback.")
    extra_callback_pairs: tuple[CallbackPairConfig, ...] = Field(
        (), max_length=MAX_EXTRA_PAIRS, description="Pairs of further receivers that post to the same URL."
    )
    base_url: Annotated[str, AfterValidator(_base_url)] = Field(
        DEFAULT_BASE_URL, description="Another address for a private WeCom (私有化部署).", max_length=2000
    )
    proxy: Annotated[SecretStr, AfterValidator(_proxy)] | None = Field(
        None, description="http(s):// or socks5:// proxy for calls to WeCom.", json_schema_extra=_WRITE_ONLY
    )

    @model_validator(mode="after")
    def _whole_pair(self) -> Self:
        if (self.token is None) != (self.encoding_aes_key is None):
            raise ValueError("token and encoding_aes_key come together or not at all")
        return self

    def callback_pairs(self) -> list[CallbackPair]:
        """The pairs that a callback may be signed with, the source's own first."""
        own = [(self.token, self.encoding_aes_key)] if self.token and self.encoding_aes_key else []
        pairs = own + [(pair.token, pair.encoding_aes_key) for pair in self.extra_callback_pairs]
        return [CallbackPair(t.get_secret_value(), k.get_secret_value(), self.corp_id) for t, k in pairs]

    def revealed(self) -> dict[str, Any]:
        """JSON values with the secrets in clear, for sealing them in the store; never for an answer or a log."""
        plain = self.model_dump()
        for name in ("app_secret", "contacts_secret", "token", "encoding_aes_key", "proxy"):
            plain[name] = _reveal(plain[name])
        plain["extra_callback_pairs"] = [
            {name: _reveal(value) for name, value in pair.items()} for pair in plain["extra_callback_pairs"]
        ]
        return plain


def _reveal(value: SecretStr | None) -> str | None:
    return value.get_secret_value() if value is not None else None
