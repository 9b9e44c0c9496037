"""A run as it is ordered and answered."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from app.api.language import Language
from app.api.problem import UpstreamProblem, shown_error
from app.api.schemas.fields import Body, JsonObject, Text, Time, WeComId
from app.store.pages import Planned
from app.store.runs import Run

Kind = Literal["full", "events", "scope", "resync", "undo", "purge"]
Trigger = Literal["api", "schedule", "event", "cli", "ui", "retry", "approval"]
State = Literal["queued", "running", "succeeded", "partial", "failed", "cancelled", "awaiting_approval", "rejected"]
ObjectKind = Literal["department", "user", "membership"]
Action = Literal["create", "update", "deactivate", "reactivate", "remove", "rename", "unmanage"]
PlanState = Literal["planned", "applied", "withheld", "failed"]
SETTLED = frozenset({"succeeded", "partial", "failed", "cancelled", "awaiting_approval", "rejected"})


class Scope(Body):
    """The objects to sync instead of everything."""

    userids: list[Annotated[Text, Field(min_length=1, max_length=64)]] = Field(default_factory=list, max_length=1000)
    department_ids: list[WeComId] = Field(default_factory=list, max_length=1000)


class RunOrder(Body):
    dry_run: bool = Field(False, description="Plan everything, change nothing.")
    scope: Scope | None = None

    @property
    def narrow(self) -> dict[str, Any] | None:
        """The scope where it names anything; None asks for everything."""
        scope = self.scope.model_dump() if self.scope else {}
        return scope if any(scope.values()) else None


class Decision(Body):
    decision: Literal["approve", "reject"]
    digest: Text = Field(min_length=1, max_length=128, description="The run's `digest`: what exactly is decided.")
    reason: Text | None = Field(None, max_length=1000)


class Progress(BaseModel):
    done: int
    total: int
    eta_seconds: int | None = Field(description="A guess from the pace so far; null where there is none yet.")


class Counts(BaseModel):
    """Objects, not changes."""

    created: int = 0
    updated: int = 0
    deactivated: int = 0
    reactivated: int = 0
    removed: int = 0
    unchanged: int = 0
    failed: int = 0
    withheld: int = 0
    unmanaged: int = 0


class RunCounts(BaseModel):
    departments: Counts = Field(default_factory=Counts)
    users: Counts = Field(default_factory=Counts)
    memberships: Counts = Field(default_factory=Counts)


class Warned(BaseModel):
    code: str
    message: str


class RunError(BaseModel):
    code: str
    message: str
    hint: str
    upstream: UpstreamProblem | None = None


class Approval(BaseModel):
    decision: Literal["approve", "reject"]
    digest: str
    reason: str | None
    by: str
    at: Time


class RunOut(BaseModel):
    """A run as it stands."""

    id: str
    source_id: str
    target_id: str | None
    kind: Kind
    trigger: Trigger
    state: State
    dry_run: bool
    scope: JsonObject | None
    stage: Literal["token", "departments", "users", "plan", "apply"] | None
    progress: Progress
    counts: RunCounts
    digest: str | None = Field(description="Of the destructive part of the plan; to be sent with an approval.")
    warnings: list[Warned]
    error: RunError | None
    retry_of: str | None
    approval: Approval | None
    api_calls: int
    created_at: Time
    started_at: Time | None
    finished_at: Time | None


class ProgressOut(BaseModel):
    """What a `progress` event of the stream holds."""

    state: State
    stage: str | None
    progress: Progress
    counts: RunCounts


class PlannedOut(BaseModel):
    """One change that a run made, makes, or would make."""

    kind: ObjectKind
    action: Action
    key: str = Field(description="Of a user the userid, of a department its id, of a membership `userid:department`.")
    object_id: str | None
    previous_key: str | None
    before: JsonObject
    after: JsonObject
    state: PlanState
    reason: str | None

    @classmethod
    def of(cls, planned: Planned) -> "PlannedOut":
        return cls.model_validate(planned, from_attributes=True)


def run_out(run: Run, language: Language) -> RunOut:
    """A run as an answer, its error and warnings in the language of the reader."""
    given = {name: getattr(run, name) for name in RunOut.model_fields if hasattr(run, name)}
    return RunOut.model_validate(
        given
        | {
            "progress": {"done": run.done, "total": run.total, "eta_seconds": _eta(run)},
            "warnings": [_warned(warning, language) for warning in run.warnings],
            "error": _error(run, language),
            "approval": run.approval,
        }
    )


def _error(run: Run, language: Language) -> dict[str, Any] | None:
    shown = shown_error(run.error, language)
    reason = (run.approval or {}).get("reason")
    return shown | {"message": reason} if shown and shown["code"] == "rejected" and reason else shown


def _warned(warning: dict[str, Any], language: Language) -> dict[str, Any]:
    shown = shown_error(warning, language) or {}
    return {"code": shown["code"], "message": shown["message"]}


def _eta(run: Run) -> int | None:
    if run.state != "running" or run.started_at is None or not 0 < run.done < run.total:
        return None
    elapsed = (datetime.now(UTC) - run.started_at).total_seconds()
    return max(1, round(elapsed * (run.total - run.done) / run.done))
