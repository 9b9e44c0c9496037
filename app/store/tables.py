"""Every table of our database. Rows stay inside `store/`; values travel.

Times are UTC. WeCom's ids are 64-bit integers or strings kept as spelt (`user_key` is the form that is compared).
Our ids are prefixed, time-ordered strings and never change.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Index, Integer, LargeBinary, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel

Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
Serial = BigInteger().with_variant(Integer(), "sqlite")
Big = BigInteger()


class Utc(TypeDecorator[datetime]):
    """A time in UTC, aware on both sides; SQLite keeps none of the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class SourceRow(SQLModel, table=True):
    """A configured source. `secrets` is sealed JSON; `next_seq` numbers the feed; `swept` is the observation number at
    which the last complete sweep was compared, `swept_at` its time (for display)."""

    __tablename__ = "source"

    id: str = Field(primary_key=True)
    name: str
    kind: str
    enabled: bool = True
    config: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    secrets: bytes = Field(sa_type=LargeBinary)
    callback_key: str = Field(unique=True)
    schedule: dict[str, Any] | None = Field(default=None, sa_type=Json)
    guard: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    version: int = 1
    next_seq: int = Field(default=1, sa_type=Big)
    range: dict[str, Any] | None = Field(default=None, sa_type=Json)
    readable: list[str] = Field(default_factory=list, sa_type=Json)
    swept: int = Field(default=0, sa_type=Big)
    swept_at: datetime | None = Field(default=None, sa_type=Utc)
    next_run_at: datetime | None = Field(default=None, sa_type=Utc, index=True)
    escalated_at: datetime | None = Field(default=None, sa_type=Utc)
    open_approval: str | None = None
    verified_at: datetime | None = Field(default=None, sa_type=Utc)
    last_event_at: datetime | None = Field(default=None, sa_type=Utc)
    created_at: datetime = Field(sa_type=Utc)
    updated_at: datetime = Field(sa_type=Utc)
    deleted_at: datetime | None = Field(default=None, sa_type=Utc)


class InboxRow(SQLModel, table=True):
    """One authentic callback. `arrived` is an observation number: a read with a larger one was sent after it came.
    `digest` outlives `payload`."""

    __tablename__ = "inbox"
    __table_args__ = (
        UniqueConstraint("source_id", "digest"),
        Index("inbox_due", "source_id", "state", "next_attempt_at"),
    )

    id: str = Field(primary_key=True)
    source_id: str = Field(foreign_key="source.id")
    digest: str
    received_at: datetime = Field(sa_type=Utc)
    arrived: int = Field(sa_type=Big)
    change_type: str
    kind: str
    key: str
    new_key: str | None = None
    created: int = Field(default=0, sa_type=Big)
    expects: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    state: str = "pending"
    reason: str | None = None
    attempts: int = 0
    next_attempt_at: datetime | None = Field(default=None, sa_type=Utc)
    error: dict[str, Any] | None = Field(default=None, sa_type=Json)
    run_id: str | None = None
    applied_at: datetime | None = Field(default=None, sa_type=Utc)
    duplicates: int = 0
    payload: str | None = Field(default=None, sa_type=Text)


class RunRow(SQLModel, table=True):
    """One full sync, scoped sync or collection of withheld changes. `approval` is {decision, digest, reason, by, at};
    `ceiling_of` names the run whose destructive part was approved. `sweep_from` is the observation number before the
    first read; `fingerprint` that of the range it read under."""

    __tablename__ = "run"
    __table_args__ = (Index("run_state", "state"), Index("run_source", "source_id", "id"))

    id: str = Field(primary_key=True)
    source_id: str = Field(foreign_key="source.id")
    target_id: str | None = None
    kind: str = "full"
    trigger: str = "api"
    state: str = "queued"
    dry_run: bool = False
    scope: dict[str, Any] | None = Field(default=None, sa_type=Json)
    stage: str | None = None
    done: int = Field(default=0, sa_type=Big)
    total: int = Field(default=0, sa_type=Big)
    counts: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    digest: str | None = None
    warnings: list[dict[str, Any]] = Field(default_factory=list, sa_type=Json)
    error: dict[str, Any] | None = Field(default=None, sa_type=Json)
    retry_of: str | None = None
    approval: dict[str, Any] | None = Field(default=None, sa_type=Json)
    cancel_requested: bool = False
    attempts: int = 0
    api_calls: int = 0
    sweep_from: int = Field(default=0, sa_type=Big)
    fingerprint: str | None = None
    read_at: datetime | None = Field(default=None, sa_type=Utc)
    created_at: datetime = Field(sa_type=Utc)
    started_at: datetime | None = Field(default=None, sa_type=Utc)
    finished_at: datetime | None = Field(default=None, sa_type=Utc)


class StagedPageRow(SQLModel, table=True):
    """A page that a run has read and staged; a resumed run does not read it again."""

    __tablename__ = "staged_page"

    run_id: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    observed: int = Field(sa_type=Big)
    note: dict[str, Any] | None = Field(default=None, sa_type=Json)


class StagedDepartmentRow(SQLModel, table=True):
    __tablename__ = "staged_department"

    run_id: str = Field(primary_key=True)
    department_id: int = Field(primary_key=True, sa_type=Big)
    observed: int = Field(sa_type=Big)
    hash: str
    data: dict[str, Any] = Field(sa_type=Json)


class StagedUserRow(SQLModel, table=True):
    """`hash` covers the ordinary fields and the memberships; each withheld field has its own, NULL where unread."""

    __tablename__ = "staged_user"

    run_id: str = Field(primary_key=True)
    user_key: str = Field(primary_key=True)
    observed: int = Field(sa_type=Big)
    hash: str
    hash_mobile: str | None = None
    hash_email: str | None = None
    hash_biz_mail: str | None = None
    hash_gender: str | None = None
    hash_avatar: str | None = None
    hash_address: str | None = None
    data: dict[str, Any] = Field(sa_type=Json)


class StagedIdRow(SQLModel, table=True):
    """A userid that a complete pass of user/list_id held; `pass_` counts the passes of a run from 1."""

    __tablename__ = "staged_id"

    run_id: str = Field(primary_key=True)
    pass_: int = Field(primary_key=True)
    user_key: str = Field(primary_key=True)


class PlannedChangeRow(SQLModel, table=True):
    """A change of a run's plan, written before the first one is made. `state`: planned, applied, withheld, failed."""

    __tablename__ = "planned_change"
    __table_args__ = (Index("planned_run", "run_id", "id"), Index("planned_next", "run_id", "state", "rank", "id"))

    id: int | None = Field(default=None, primary_key=True, sa_type=Serial)
    run_id: str = Field(foreign_key="run.id")
    kind: str
    action: str
    key: str
    object_id: str | None = None
    previous_key: str | None = None
    before: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    after: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    observed: int = Field(default=0, sa_type=Big)
    guarded: str | None = None
    state: str = "planned"
    reason: str | None = None
    rank: int = 0


class DepartmentRow(SQLModel, table=True):
    __tablename__ = "department"
    __table_args__ = (
        UniqueConstraint("source_id", "department_id"),
        Index("department_parent", "source_id", "parent_id"),
    )

    id: str = Field(primary_key=True)
    source_id: str = Field(foreign_key="source.id")
    department_id: int = Field(sa_type=Big)
    name: str | None = None
    name_en: str | None = None
    parent_id: int | None = Field(default=None, sa_type=Big)
    order: int | None = Field(default=None, sa_type=Big)
    leaders: list[str] | None = Field(default=None, sa_type=Json)
    active: bool = True
    unmanaged_since: datetime | None = Field(default=None, sa_type=Utc)
    hash: str | None = None
    observed: int = Field(default=0, sa_type=Big)
    observed_at: datetime = Field(sa_type=Utc)
    created_at: datetime = Field(sa_type=Utc)
    updated_at: datetime = Field(sa_type=Utc)
    removed_at: datetime | None = Field(default=None, sa_type=Utc)


class UserRow(SQLModel, table=True):
    """A person. `superseded_at` frees his userid for somebody else who got it after him."""

    __tablename__ = "user"
    __table_args__ = (
        Index(
            "user_key_unique",
            "source_id",
            "user_key",
            unique=True,
            sqlite_where=text("superseded_at IS NULL"),
            postgresql_where=text("superseded_at IS NULL"),
        ),
    )

    id: str = Field(primary_key=True)
    source_id: str = Field(foreign_key="source.id")
    user_key: str
    userid: str
    name: str | None = None
    alias: str | None = None
    position: str | None = None
    status: int | None = None
    mobile: str | None = None
    email: str | None = None
    biz_mail: str | None = None
    telephone: str | None = None
    gender: str | None = None
    avatar: str | None = None
    address: str | None = None
    direct_leaders: list[str] | None = Field(default=None, sa_type=Json)
    main_department_id: int | None = Field(default=None, sa_type=Big)
    extattrs: list[dict[str, Any]] | None = Field(default=None, sa_type=Json)
    active: bool = True
    unmanaged_since: datetime | None = Field(default=None, sa_type=Utc)
    hash: str | None = None
    hash_mobile: str | None = None
    hash_email: str | None = None
    hash_biz_mail: str | None = None
    hash_gender: str | None = None
    hash_avatar: str | None = None
    hash_address: str | None = None
    observed: int = Field(default=0, sa_type=Big)
    observed_at: datetime = Field(sa_type=Utc)
    created_at: datetime = Field(sa_type=Utc)
    updated_at: datetime = Field(sa_type=Utc)
    deactivated_at: datetime | None = Field(default=None, sa_type=Utc)
    superseded_at: datetime | None = Field(default=None, sa_type=Utc)


class MembershipRow(SQLModel, table=True):
    __tablename__ = "membership"
    __table_args__ = (Index("membership_department", "source_id", "department_id", "user_id"),)

    user_id: str = Field(primary_key=True, foreign_key="user.id")
    department_id: int = Field(primary_key=True, sa_type=Big)
    source_id: str = Field(foreign_key="source.id")
    order: int = Field(default=0, sa_type=Big)
    is_leader: bool = False


class ChangeRow(SQLModel, table=True):
    """The feed: `seq` is gap-free and in commit order within a source. `guarded` marks a destructive change that
    counts against the limits of the sliding window."""

    __tablename__ = "change"
    __table_args__ = (
        Index("change_object", "object_id", "seq"),
        Index("change_run", "run_id"),
        Index("change_guarded", "source_id", "guarded", "at"),
    )

    source_id: str = Field(primary_key=True, foreign_key="source.id")
    seq: int = Field(primary_key=True, sa_type=Big)
    kind: str
    action: str
    object_id: str
    key: str
    previous_key: str | None = None
    before: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    after: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    run_id: str | None = None
    event_id: str | None = None
    guarded: str | None = None
    reason: str | None = None
    observed: int = Field(default=0, sa_type=Big)
    at: datetime = Field(sa_type=Utc)


class TargetRow(SQLModel, table=True):
    """A configured target. `taken` is the number in the feed up to which changes became deliveries, `position` that up
    to which everything is delivered, dead or superseded. Targets with one `channel` are written in turn;
    `sending_since` is set while a write is under way."""

    __tablename__ = "target"

    id: str = Field(primary_key=True)
    source_id: str = Field(foreign_key="source.id", index=True)
    name: str
    kind: str
    enabled: bool = True
    config: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    secrets: bytes = Field(sa_type=LargeBinary)
    guard: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    version: int = 1
    channel: str = Field(index=True)
    wants_news: bool = False
    state: str = "ok"
    taken: int = Field(default=0, sa_type=Big)
    position: int = Field(default=0, sa_type=Big)
    failures: int = 0
    failing_since: datetime | None = Field(default=None, sa_type=Utc)
    next_attempt_at: datetime | None = Field(default=None, sa_type=Utc)
    sending_since: datetime | None = Field(default=None, sa_type=Utc)
    open_approval: str | None = None
    last_error: dict[str, Any] | None = Field(default=None, sa_type=Json)
    last_delivered_at: datetime | None = Field(default=None, sa_type=Utc)
    created_at: datetime = Field(sa_type=Utc)
    updated_at: datetime = Field(sa_type=Utc)
    deleted_at: datetime | None = Field(default=None, sa_type=Utc)


class DeliveryRow(SQLModel, table=True):
    """What waits, or waited, to be told to a target about one object: the changes from `first_seq` to `seq` of the
    feed. While it is open (pending, retrying, dead) later changes of the object join it. `held` removals wait for an
    approval, `approved` ones have it. `rank` orders: departments parents first, users, users gone, departments gone
    children first, runs."""

    __tablename__ = "delivery"
    __table_args__ = (
        Index(
            "delivery_open",
            "target_id",
            "object_id",
            unique=True,
            sqlite_where=text("state <> 'delivered'"),
            postgresql_where=text("state <> 'delivered'"),
        ),
        Index("delivery_due", "target_id", "state", "rank", "id"),
        Index("delivery_run", "run_id"),
    )

    id: str = Field(primary_key=True)
    target_id: str = Field(foreign_key="target.id")
    kind: str
    object_id: str
    key: str
    rank: int
    first_seq: int = Field(default=0, sa_type=Big)
    seq: int = Field(default=0, sa_type=Big)
    actions: list[str] = Field(default_factory=list, sa_type=Json)
    previous: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    run_id: str | None = None
    held: bool = False
    approved: bool = False
    state: str = "pending"
    failures: int = 0
    attempts: list[dict[str, Any]] = Field(default_factory=list, sa_type=Json)
    next_attempt_at: datetime | None = Field(default=None, sa_type=Utc)
    created_at: datetime = Field(sa_type=Utc)
    changed_at: datetime = Field(sa_type=Utc)
    finished_at: datetime | None = Field(default=None, sa_type=Utc, index=True)


class LinkRow(SQLModel, table=True):
    """What a target acknowledged of one object of ours."""

    __tablename__ = "link"

    target_id: str = Field(primary_key=True, foreign_key="target.id")
    object_id: str = Field(primary_key=True)
    kind: str
    key: str
    remote_id: str | None = None
    digest: str | None = None
    present: bool = True
    removed_at: datetime | None = Field(default=None, sa_type=Utc)
    at: datetime = Field(sa_type=Utc)


class LeaseRow(SQLModel, table=True):
    """Who owns a piece of work until when; `token` grows with every claim and fences whoever held it before."""

    __tablename__ = "lease"

    id: str = Field(primary_key=True)
    token: int = Field(default=0, sa_type=Big)
    owner: str | None = None
    until: datetime | None = Field(default=None, sa_type=Utc)


class CredentialRow(SQLModel, table=True):
    """An access token (sealed) and the circuit breaker of one credential."""

    __tablename__ = "credential"

    id: str = Field(primary_key=True)
    token: bytes | None = Field(default=None, sa_type=LargeBinary)
    expires_at: datetime | None = Field(default=None, sa_type=Utc)
    broken: dict[str, Any] | None = Field(default=None, sa_type=Json)
    refreshing_by: str | None = None
    refreshing_until: datetime | None = Field(default=None, sa_type=Utc)


class BudgetRow(SQLModel, table=True):
    """Calls of one API reserved in one slot of five seconds (`slot` counts them since 1970); row 0 holds the block."""

    __tablename__ = "budget"

    corp: str = Field(primary_key=True)
    api: str = Field(primary_key=True)
    slot: int = Field(primary_key=True, sa_type=Big)
    calls: int = 0
    blocked_until: datetime | None = Field(default=None, sa_type=Utc)


class IdempotencyRow(SQLModel, table=True):
    """The answer to a request that carried an Idempotency-Key; kept for 24 hours."""

    __tablename__ = "idempotency"

    key: str = Field(primary_key=True)
    body: str
    run_id: str
    created_at: datetime = Field(sa_type=Utc, index=True)


class CounterRow(SQLModel, table=True):
    """Numbers reserved in blocks where there are no sequences (SQLite)."""

    __tablename__ = "counter"

    name: str = Field(primary_key=True)
    value: int = Field(default=0, sa_type=Big)


class WorkerRow(SQLModel, table=True):
    """The last beat of every process that works."""

    __tablename__ = "worker"

    id: str = Field(primary_key=True)
    beat_at: datetime = Field(sa_type=Utc)


class AuditRow(SQLModel, table=True):
    """Who did or looked at what; `details` holds no secrets and no people's data beyond ids."""

    __tablename__ = "audit"

    id: str = Field(primary_key=True)
    at: datetime = Field(sa_type=Utc)
    actor: str
    action: str
    object_id: str | None = None
    details: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
