"""A target, and a delivery to one, as they are sent and answered."""

from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator
from pydantic_core import PydanticCustomError

from app.api.language import Language
from app.api.problem import shown_error
from app.api.schemas.fields import Body, JsonObject, Text, Time
from app.api.schemas.runs import RunError
from app.api.schemas.sources import GUARD, GuardLimit
from app.store.deliveries import Delivery
from app.store.targets import Target

TargetState = Literal["ok", "retrying", "suspended", "paused", "awaiting_approval"]
DeliveryState = Literal["pending", "delivered", "retrying", "dead"]


class TargetNew(Body):
    """A new target of one source; unless it is disabled it is brought to the whole directory at once."""

    name: Text = Field(min_length=1, max_length=100, examples=["NocoBase"])
    kind: Text = Field(max_length=40, examples=["nocobase"])
    source_id: Text = Field(max_length=64)
    config: JsonObject
    enabled: bool = True
    guard: GuardLimit | None = Field(None, description="How much may be removed from it within a day without asking.")


class TargetChange(Body):
    """What is left out stays. A secret that is left out or sent as `{"set": true}` stays."""

    name: Text | None = Field(None, min_length=1, max_length=100, examples=["NocoBase"])
    config: JsonObject | None = None
    enabled: bool | None = None
    guard: GuardLimit | None = None

    @model_validator(mode="after")
    def _not_removed(self) -> Self:
        for name in ("name", "config", "enabled"):
            if name in self.model_fields_set and getattr(self, name) is None:
                raise PydanticCustomError("not_null", f"{name} cannot be null")
        return self


class ResyncOrder(Body):
    dry_run: bool = Field(False, description="Compare and plan, send nothing.")


class TargetOut(BaseModel):
    """A target; each secret of its `config` is `{"set": true}` or null."""

    id: str
    name: str
    kind: str
    source_id: str
    enabled: bool
    config: JsonObject
    guard: JsonObject
    state: TargetState
    position: int = Field(description="Every change up to this number is delivered, dead or superseded.")
    backlog: int = Field(description="Changes not looked at yet and objects that wait.")
    open_approval: str | None = Field(description="The run that waits for an approval.")
    last_error: RunError | None
    last_delivered_at: Time | None
    next_attempt_at: Time | None
    created_at: Time
    updated_at: Time


class TargetMade(TargetOut):
    secret: str | None = Field(description="The signing secret that was made, shown this one time.")


class SecretRotation(Body):
    overlap_seconds: int = Field(86400, ge=0, le=2592000, description="How long the present secret signs too.")


class SecretOut(BaseModel):
    """A new signing secret, shown this one time."""

    secret: str
    old_secret_until: Time


class DeliveredObject(BaseModel):
    kind: Literal["department", "user", "run", "target"]
    id: str
    key: str
    sequence: int = Field(description="The number of the last change of it that is in this delivery.")


class AttemptError(BaseModel):
    code: str
    message: str


class Attempt(BaseModel):
    at: Time
    status: int | None
    response: str | None
    error: AttemptError | None


class DeliveryOut(BaseModel):
    """One object on its way to a target. A dead one was given up and waits for a person, or for its next change."""

    id: str
    target_id: str
    state: DeliveryState
    held: bool = Field(description="A removal that waits for an approval.")
    objects: list[DeliveredObject]
    attempts: list[Attempt]
    next_attempt_at: Time | None
    created_at: Time
    finished_at: Time | None


def target_out(target: Target, *, config: JsonObject, backlog: int, language: Language) -> TargetOut:
    """A target as an answer; `config` is already without secrets."""
    defaults = {"max_percent": GUARD.max_percent, "max_count": GUARD.max_count, "floor": GUARD.floor}
    given = {name: getattr(target, name) for name in TargetOut.model_fields if hasattr(target, name)}
    error = shown_error(dict(target.last_error), language) if target.last_error else None
    own = {"config": config, "guard": {**defaults, **target.guard}, "state": target.condition, "backlog": backlog}
    return TargetOut.model_validate(given | own | {"last_error": error})


def delivery_out(delivery: Delivery) -> DeliveryOut:
    given = {name: getattr(delivery, name) for name in DeliveryOut.model_fields if hasattr(delivery, name)}
    one = {"kind": delivery.kind, "id": delivery.object_id, "key": delivery.key, "sequence": delivery.seq}
    return DeliveryOut.model_validate(given | {"objects": [one]})
