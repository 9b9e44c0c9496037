"""What a webhook target is configured with: the `config` object of the API, checked for its form only."""

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import httpx
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, SecretStr

SECRET_FIELDS: Final = ("secret", "old_secret")
ADDRESS_FIELDS: Final = ("url",)
SECRET_BYTES: Final = 32

Wanted = Literal[
    "user.*",
    "department.*",
    "run.*",
    "target.*",
    "user.created",
    "user.updated",
    "user.deactivated",
    "user.reactivated",
    "user.deleted",
    "department.created",
    "department.updated",
    "department.moved",
    "department.deleted",
    "run.completed",
    "run.failed",
    "run.cancelled",
    "run.rejected",
    "run.awaiting_approval",
    "target.suspended",
]


def _url(value: str) -> str:
    """An address to post to; raises ValueError, without repeating the value."""
    try:
        url = httpx.URL(value)
        usable = url.scheme in ("http", "https") and bool(url.host) and not re.search(r"[\s\x00-\x20\x7f]", value)
    except httpx.InvalidURL:
        usable = False
    if not usable or httpx.URL(value).userinfo or "#" in value:
        raise ValueError("must be an http(s) URL without user name or fragment")
    return value


def _secret(value: SecretStr) -> SecretStr:
    prefix, _, encoded = value.get_secret_value().partition("_")
    try:
        size = len(base64.b64decode(encoded, validate=True))
    except (ValueError, binascii.Error):
        size = 0
    if prefix != "whsec" or not 24 <= size <= 64:
        raise ValueError("must be whsec_ and 24 to 64 bytes in base64")
    return value


Secret = Annotated[SecretStr, AfterValidator(_secret)]


class WebhookConfig(BaseModel):
    """An address that takes signed events (Standard Webhooks 1.0)."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: Annotated[str, AfterValidator(_url)] = Field(
        max_length=2000, description="Where the events are posted.", examples=["https://example.com/hooks/wecom-sync"]
    )
    secret: Secret | None = Field(
        None,
        description="whsec_ and 24 to 64 bytes in base64; made, and shown once, when it is left out.",
        json_schema_extra={"writeOnly": True},
    )
    old_secret: Secret | None = Field(
        None,
        description="Signs beside `secret` until `old_secret_until`, while the receiver changes over.",
        json_schema_extra={"writeOnly": True},
    )
    old_secret_until: AwareDatetime | None = Field(None, description="When `old_secret` ends; never when it is null.")
    batch_size: int = Field(
        1, ge=1, le=100, description="With more than 1 every request holds a batch of up to so many events."
    )
    events: list[Wanted] | None = Field(
        None, min_length=1, max_length=40, description="The types to send, all when it is left out."
    )
    format: Literal["standard", "cloudevents"] = Field(
        "standard", description="cloudevents: every event in a CloudEvents 1.0 envelope, signed in the same way."
    )


def revealed(config: WebhookConfig) -> dict[str, Any]:
    """JSON values with the secrets in clear, for sealing; never for an answer or a log."""
    secrets = {name: getattr(config, name) for name in SECRET_FIELDS}
    plain = {name: secret.get_secret_value() if secret else None for name, secret in secrets.items()}
    return config.model_dump(mode="json") | plain


def fresh_secret() -> str:
    """A new signing secret."""
    return "whsec_" + base64.b64encode(os.urandom(SECRET_BYTES)).decode()


def completed(given: Mapping[str, Any]) -> dict[str, str]:
    """The secrets to add to a configuration that came without."""
    return {} if given.get("secret") is not None else {"secret": fresh_secret()}


def rotated(stored: Mapping[str, Any], until: datetime) -> dict[str, Any]:
    """The changes that put a fresh secret in the place of the present one, which signs on until then."""
    old = {"old_secret": stored["secret"], "old_secret_until": until.isoformat().replace("+00:00", "Z")}
    return {"secret": fresh_secret()} | old


def channel(config: WebhookConfig) -> str:
    """One address takes one request at a time: an object's events keep their order."""
    return f"webhook:{hashlib.sha256(config.url.encode()).hexdigest()[:16]}"
