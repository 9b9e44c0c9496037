"""A source as it is sent and answered."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, model_validator
from pydantic_core import PydanticCustomError

from app.api.language import Language
from app.api.schedule import FIVE_FIELDS, comes_due, is_zone
from app.api.schemas.fields import Body, JsonObject, Text, Time
from app.api.schemas.runs import RunOut
from app.api.texts import said
from app.core.guard import Limit
from app.core.ports import Check
from app.store.sources import Source

GUARD = Limit()


def _time_zone(name: str) -> str:
    if not is_zone(name):
        raise PydanticCustomError("timezone", "is not a time zone")
    return name


class Schedule(Body):
    """When full syncs start by themselves."""

    cron: str = Field(
        pattern=FIVE_FIELDS,
        max_length=100,
        description="Minute, hour, day of month, month, day of week.",
        examples=["17 3 * * *"],
        json_schema_extra={"format": "cron"},
    )
    timezone: Annotated[str, AfterValidator(_time_zone)] = Field(
        "Asia/Shanghai",
        max_length=64,
        description="IANA name.",
        examples=["Asia/Shanghai"],
        json_schema_extra={"format": "timezone"},
    )

    @model_validator(mode="after")
    def _comes_due(self) -> Self:
        if not comes_due(self.cron, self.timezone):
            raise PydanticCustomError("cron", "is not a schedule")
        return self


class GuardLimit(Body):
    """More than `max_count` objects, or more than `max_percent` of those that exist, needs an approval; with fewer than
    `floor` existing only losing all of them does."""

    max_percent: float = Field(GUARD.max_percent, ge=0, le=100, allow_inf_nan=False, examples=[10])
    max_count: int = Field(GUARD.max_count, ge=0, le=2**31 - 1, examples=[500])
    floor: int = Field(GUARD.floor, ge=0, le=2**31 - 1, examples=[20])


class GuardKinds(Body):
    """Limits of their own for one kind of loss; what is left out is as in the guard itself."""

    deactivate: GuardLimit | None = None
    department: GuardLimit | None = None
    membership: GuardLimit | None = None
    blank: GuardLimit | None = None


class Guard(GuardLimit):
    """How much a sync may destroy without asking."""

    kinds: GuardKinds = Field(default_factory=GuardKinds)

    def stored(self) -> dict[str, Any]:
        """Only what was given: the rest keeps following the defaults."""
        return self.model_dump(exclude_unset=True, exclude_none=True)


class SourceNew(Body):
    """A new source. Every credential may come later; with Token and EncodingAESKey alone the callback already works."""

    name: Text = Field(min_length=1, max_length=100, examples=["Headquarters"])
    kind: Text = Field("wecom", max_length=40, examples=["wecom"])
    config: JsonObject
    enabled: bool = True
    schedule: Schedule | None = Field(
        None, description="Left out: once a night at a random minute. null: only when asked for."
    )
    guard: Guard | None = None


class SourceChange(Body):
    """What is left out stays. A secret that is left out or sent as `{"set": true}` stays, null removes it."""

    name: Text | None = Field(None, min_length=1, max_length=100, examples=["Headquarters"])
    kind: Text | None = Field(None, max_length=40, description="Only the present kind is taken.")
    config: JsonObject | None = None
    enabled: bool | None = None
    schedule: Schedule | None = None
    guard: Guard | None = None

    @model_validator(mode="after")
    def _not_removed(self) -> Self:
        for name in ("name", "kind", "config", "enabled"):
            if name in self.model_fields_set and getattr(self, name) is None:
                raise PydanticCustomError("not_null", f"{name} cannot be null")
        return self


class CallbackState(BaseModel):
    verified_at: Time | None = Field(description="When WeCom last verified the URL.")
    last_event_at: Time | None


class ScheduleOut(BaseModel):
    cron: str
    timezone: str


class SourceOut(BaseModel):
    """A source; each secret of its `config` is `{"set": true}` or null, of `proxy` only the password is hidden."""

    id: str
    name: str
    kind: str
    enabled: bool
    config: JsonObject
    callback_url: str
    schedule: ScheduleOut | None
    guard: JsonObject
    callback: CallbackState
    last_run: RunOut | None
    next_run_at: Time | None
    open_approval: str | None = Field(description="The run that waits for an approval.")
    created_at: Time
    updated_at: Time
    deleted_at: Time | None


class CredentialsOrder(Body):
    overlap_seconds: int = Field(
        86_400,
        ge=0,
        le=30 * 86_400,
        description="How long the old pair works on after the new one verified its first request.",
    )


class CallbackCredentials(BaseModel):
    """What is to be entered in WeCom; shown this once."""

    callback_url: str
    token: str
    encoding_aes_key: str


class CheckOut(BaseModel):
    name: str
    status: Literal["ok", "warning", "failed", "skipped"]
    message: str
    hint: str
    code: str | None
    data: JsonObject


class ChecksOut(BaseModel):
    """`ok` when no check failed."""

    ok: bool
    checks: list[CheckOut]


def source_out(source: Source, *, config: JsonObject, callback_url: str, last_run: RunOut | None) -> SourceOut:
    """A source as an answer; `config` is already without secrets."""
    defaults = {"max_percent": GUARD.max_percent, "max_count": GUARD.max_count, "floor": GUARD.floor, "kinds": {}}
    given = {name: getattr(source, name) for name in SourceOut.model_fields if hasattr(source, name)}
    return SourceOut.model_validate(
        given
        | {
            "config": config,
            "callback_url": callback_url,
            "guard": {**defaults, **source.guard},
            "callback": {"verified_at": source.verified_at, "last_event_at": source.last_event_at},
            "last_run": last_run,
        }
    )


def check_out(check: Check, language: Language) -> CheckOut:
    """A check in the language of the reader; one without a code keeps its own words."""
    message, hint = check.message, check.hint
    if check.code:
        texts = said(check.code, language, check.params, message, hint)
        message, hint = texts.detail, texts.hint
    return CheckOut(
        name=check.name, status=check.status, message=message, hint=hint, code=check.code, data=dict(check.data)
    )
