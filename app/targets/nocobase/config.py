"""What a NocoBase target is configured with: the `config` object of the API, checked for its form only."""

import hashlib
import re
from typing import Annotated, Any, Final, Literal

import httpx
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

SECRET_FIELDS: Final = ("api_key",)
ADDRESS_FIELDS: Final = ("url",)


def base_url(value: str) -> str:
    """The address without `/api` and closing slashes; raises ValueError, without repeating the value."""
    try:
        url = httpx.URL(value)
        usable = url.scheme in ("http", "https") and bool(url.host) and not re.search(r"[\s\x00-\x20\x7f]", value)
    except httpx.InvalidURL:
        usable = False
    if not usable or httpx.URL(value).userinfo or "?" in value or "#" in value:
        raise ValueError("must be an http(s) URL without user name, query or fragment")
    return value.rstrip("/").removesuffix("/api").rstrip("/")


def _key(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\x21-\x7e]{1,4096}", value.get_secret_value()):
        raise ValueError("must be 1 to 4096 characters without spaces")
    return value


class NocoBaseConfig(BaseModel):
    """A NocoBase with the plugins User data synchronization and Departments, and a key of a role that may push."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: Annotated[str, AfterValidator(base_url)] = Field(
        max_length=2000, description="Address of NocoBase.", examples=["https://nocobase.example.com"]
    )
    api_key: Annotated[SecretStr, AfterValidator(_key)] = Field(
        description="API key of a role with the permission 用户数据同步 (pm.user-data-sync).",
        json_schema_extra={"writeOnly": True},
    )
    match_key: Literal["username", "email", "phone"] | None = Field(
        None, description="Accounts that exist already are taken over when this field is equal; without it none is."
    )
    username_from: Literal["userid", "mobile", "email"] = Field(
        "userid", description="What becomes the user name in NocoBase."
    )
    source_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] | None = Field(
        None, description="Name of the source in NocoBase; never change it. By default wecom-<corp_id>."
    )
    leavers: Literal["detach", "delete"] = Field(
        "detach",
        description="detach: a leaver loses the departments, but can still sign in. delete: the account is deleted, "
        "unless it was there before and taken over: that one is detached.",
    )


def revealed(config: NocoBaseConfig) -> dict[str, Any]:
    """JSON values with the key in clear, for sealing; never for an answer or a log."""
    return config.model_dump() | {"api_key": config.api_key.get_secret_value()}


def channel(config: NocoBaseConfig) -> str:
    """One NocoBase takes one push at a time, whichever target it comes from."""
    return f"nocobase:{hashlib.sha256(config.url.lower().encode()).hexdigest()[:16]}"
