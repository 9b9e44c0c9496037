"""The settings of one installation: environment variables with the prefix WECOM_SYNC_, or the same names in `.env`."""

import os
import re
from pathlib import Path
from typing import Literal

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "WECOM_SYNC_"


class SettingsError(Exception):
    """A setting that cannot be used; the text is three readable lines."""


class Settings(BaseSettings):
    """Every setting with its default; the description of each is its line in `.env.example` and in the README."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    data_dir: Path = Field(Path("./data"), description="Where the database, the keys and the admin token are kept.")
    database_url: SecretStr | None = Field(
        None, description="Empty: SQLite in DATA_DIR. postgresql://user:password@host/name for PostgreSQL 14 or newer."
    )
    admin_token: SecretStr | None = Field(
        None, description="Bearer token of the administrator. Empty: made on first start, kept in DATA_DIR/admin-token."
    )
    encryption_keys: SecretStr | None = Field(
        None,
        description=(
            "Fernet keys, comma-separated; the first seals, all open. "
            "Empty: made on first start, kept in DATA_DIR/encryption-keys."
        ),
    )
    public_url: str = Field("http://localhost:8000", description="The address under which WeCom reaches this service.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=1, le=65535, description="Port to listen on.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    log_format: Literal["json", "console"] = Field("console", description="json for machines, console for people.")
    worker: Literal["embedded", "none"] = Field(
        "embedded", description="embedded: `serve` does the work too. none: it only answers, `wecom-sync worker` works."
    )
    metrics_public: bool = Field(False, description="true: /metrics needs no token.")
    webhook_allow: str = Field(
        "",
        description=(
            "Hosts, addresses and networks, comma-separated, to which webhooks may be sent though they are not public, "
            "such as 10.0.0.0/8,hooks.lan."
        ),
    )

    @field_validator("public_url")
    @classmethod
    def _http(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return value.rstrip("/")

    @field_validator("webhook_allow")
    @classmethod
    def _hosts(cls, value: str) -> str:
        entries = [entry.strip() for entry in value.split(",") if entry.strip()]
        if not all(re.fullmatch(r"[A-Za-z0-9._:/-]+", entry) for entry in entries):
            raise ValueError("must be hosts, addresses or networks with commas between them")
        return ",".join(entries)

    @property
    def webhook_allowed(self) -> tuple[str, ...]:
        """The entries of `webhook_allow`."""
        return tuple(self.webhook_allow.split(",")) if self.webhook_allow else ()

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        if not value.get_secret_value().startswith(("postgresql://", "postgres://", "sqlite:///")):
            raise ValueError("must start with postgresql:// or sqlite:///")
        return value


def load(env_file: Path = Path(".env")) -> Settings:
    """Settings from the environment, then from `env_file`; raises SettingsError for a wrong value or an unknown name.

    The file may hold other programs' lines: names without our prefix are left alone.
    """
    file = {k.upper(): v for k, v in dotenv_values(env_file).items() if v is not None} if env_file.is_file() else {}
    merged = {**file, **{k.upper(): v for k, v in os.environ.items()}}
    ours = {
        k.removeprefix(PREFIX).lower(): v
        for k, v in merged.items()
        if k.startswith(PREFIX) and not k.startswith(f"{PREFIX}TEST_")
    }
    unknown = sorted(set(ours) - set(Settings.model_fields))
    if unknown:
        raise SettingsError(
            _three_lines(unknown[0], "there is no such setting", "Correct the name or remove the line.")
        )
    try:
        return Settings(**{k: v for k, v in ours.items() if v != ""})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "?"
        raise SettingsError(_three_lines(name, first["msg"], "See .env.example for what it may be.")) from None


def _three_lines(name: str, problem: str, remedy: str) -> str:
    return f"The setting {PREFIX}{name.upper()} cannot be used:\n  {problem}.\n{remedy}"
