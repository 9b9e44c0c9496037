"""What a webhook target posts; the OpenAPI document shows it under `webhooks`."""

from typing import Literal

from pydantic import BaseModel, Field

from app.api.schemas.directory import DepartmentOut, UserOut
from app.api.schemas.fields import JsonObject, Time
from app.api.schemas.runs import Kind, RunCounts, RunError, State, Trigger


class Origin(BaseModel):
    """The source that the object belongs to."""

    id: str
    corp_id: str


class Erased(BaseModel):
    """An object of which nothing is kept."""

    id: str
    active: Literal[False]


class RunNews(BaseModel):
    id: str
    source_id: str
    target_id: str | None
    kind: Kind
    trigger: Trigger
    state: State
    dry_run: bool
    counts: RunCounts
    digest: str | None
    retry_of: str | None
    error: RunError | None
    created_at: Time
    started_at: Time | None
    finished_at: Time | None


class TargetNews(BaseModel):
    id: str
    source_id: str
    name: str
    kind: str
    state: str
    last_error: RunError | None
    failing_since: Time | None
    last_delivered_at: Time | None


class _Data(BaseModel):
    previous: JsonObject = Field(description="What was before, of the changed fields only.")
    sequence: int = Field(
        description="Grows with every later state of the same object; drop an event with a lower one."
    )
    source: Origin


class UserData(_Data):
    object: UserOut | Erased


class DepartmentData(_Data):
    object: DepartmentOut | Erased


class RunData(_Data):
    object: RunNews


class TargetData(_Data):
    object: TargetNews


class PingData(BaseModel):
    source: Origin


class _Event(BaseModel):
    id: str = Field(description="The same when the same is sent again.")
    timestamp: Time = Field(description="When the change was made.")


class UserEvent(_Event):
    type: Literal["user.created", "user.updated", "user.deactivated", "user.reactivated", "user.deleted"]
    data: UserData


class DepartmentEvent(_Event):
    type: Literal["department.created", "department.updated", "department.moved", "department.deleted"]
    data: DepartmentData


class RunEvent(_Event):
    type: Literal["run.completed", "run.failed", "run.cancelled", "run.rejected", "run.awaiting_approval"]
    data: RunData


class TargetEvent(_Event):
    type: Literal["target.suspended"]
    data: TargetData


class PingEvent(_Event):
    """A test event. It is sent by a check, and when the receiver has refused an event, to learn whose fault that is."""

    type: Literal["ping"]
    data: PingData


class BatchEvent(_Event):
    """What is posted instead of single events when `batch_size` is more than 1; up to so many, in their order."""

    type: Literal["batch"]
    data: list[UserEvent | DepartmentEvent | RunEvent | TargetEvent | PingEvent]
