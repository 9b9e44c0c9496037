"""Every table of the first release."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Json = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
Time = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("at", Time, nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("object_id", sa.String()),
        sa.Column("details", Json, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "budget",
        sa.Column("corp", sa.String(), nullable=False),
        sa.Column("api", sa.String(), nullable=False),
        sa.Column("slot", sa.BigInteger(), nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("blocked_until", Time),
        sa.PrimaryKeyConstraint("corp", "api", "slot"),
    )
    op.create_table(
        "counter",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "credential",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("token", sa.LargeBinary()),
        sa.Column("expires_at", Time),
        sa.Column("broken", Json),
        sa.Column("refreshing_by", sa.String()),
        sa.Column("refreshing_until", Time),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "idempotency",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("body", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("created_at", Time, nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("ix_idempotency_created_at", "idempotency", ["created_at"])

    op.create_table(
        "lease",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.String()),
        sa.Column("until", Time),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "source",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("config", Json, nullable=False),
        sa.Column("secrets", sa.LargeBinary(), nullable=False),
        sa.Column("callback_key", sa.String(), nullable=False),
        sa.Column("schedule", Json),
        sa.Column("guard", Json, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("next_seq", sa.BigInteger(), nullable=False),
        sa.Column("range", Json),
        sa.Column("readable", Json, nullable=False),
        sa.Column("swept", sa.BigInteger(), nullable=False),
        sa.Column("swept_at", Time),
        sa.Column("next_run_at", Time),
        sa.Column("escalated_at", Time),
        sa.Column("open_approval", sa.String()),
        sa.Column("verified_at", Time),
        sa.Column("last_event_at", Time),
        sa.Column("created_at", Time, nullable=False),
        sa.Column("updated_at", Time, nullable=False),
        sa.Column("deleted_at", Time),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("callback_key"),
    )
    op.create_index("ix_source_next_run_at", "source", ["next_run_at"])

    op.create_table(
        "staged_department",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("department_id", sa.BigInteger(), nullable=False),
        sa.Column("observed", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("data", Json, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "department_id"),
    )
    op.create_table(
        "staged_id",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("pass_", sa.Integer(), nullable=False),
        sa.Column("user_key", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "pass_", "user_key"),
    )
    op.create_table(
        "staged_page",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("observed", sa.BigInteger(), nullable=False),
        sa.Column("note", Json),
        sa.PrimaryKeyConstraint("run_id", "key"),
    )
    op.create_table(
        "staged_user",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("user_key", sa.String(), nullable=False),
        sa.Column("observed", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("hash_mobile", sa.String()),
        sa.Column("hash_email", sa.String()),
        sa.Column("hash_biz_mail", sa.String()),
        sa.Column("hash_gender", sa.String()),
        sa.Column("hash_avatar", sa.String()),
        sa.Column("hash_address", sa.String()),
        sa.Column("data", Json, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "user_key"),
    )
    op.create_table(
        "worker",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("beat_at", Time, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "change",
        sa.Column("source_id", sa.String(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("object_id", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("previous_key", sa.String()),
        sa.Column("before", Json, nullable=False),
        sa.Column("after", Json, nullable=False),
        sa.Column("run_id", sa.String()),
        sa.Column("event_id", sa.String()),
        sa.Column("guarded", sa.String()),
        sa.Column("reason", sa.String()),
        sa.Column("observed", sa.BigInteger(), nullable=False),
        sa.Column("at", Time, nullable=False),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"]),
        sa.PrimaryKeyConstraint("source_id", "seq"),
    )
    op.create_index("change_guarded", "change", ["source_id", "guarded", "at"])
    op.create_index("change_object", "change", ["object_id", "seq"])
    op.create_index("change_run", "change", ["run_id"])

    op.create_table(
        "department",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("source_id", sa.String(), nullable=False),
        sa.Column("department_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String()),
        sa.Column("name_en", sa.String()),
        sa.Column("parent_id", sa.BigInteger()),
        sa.Column("order", sa.BigInteger()),
        sa.Column("leaders", Json),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("unmanaged_since", Time),
        sa.Column("hash", sa.String()),
        sa.Column("observed", sa.BigInteger(), nullable=False),
        sa.Column("observed_at", Time, nullable=False),
        sa.Column("created_at", Time, nullable=False),
        sa.Column("updated_at", Time, nullable=False),
        sa.Column("removed_at", Time),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("source_id", "department_id"),
    )
    op.create_index("department_parent", "department", ["source_id", "parent_id"])

    op.create_table(
        "inbox",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("source_id", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("received_at", Time, nullable=False),
        sa.Column("arrived", sa.BigInteger(), nullable=False),
        sa.Column("change_type", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("new_key", sa.String()),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("expects", Json, nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", Time),
        sa.Column("error", Json),
        sa.Column("run_id", sa.String()),
        sa.Column("applied_at", Time),
        sa.Column("duplicates", sa.Integer(), nullable=False),
        sa.Column("payload", sa.Text()),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("source_id", "digest"),
    )
    op.create_index("inbox_due", "inbox", ["source_id", "state", "next_attempt_at"])

    op.create_table(
        "run",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("source_id", sa.String(), nullable=False),
        sa.Column("target_id", sa.String()),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("trigger", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        sa.Column("scope", Json),
        sa.Column("stage", sa.String()),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("counts", Json, nullable=False),
        sa.Column("digest", sa.String()),
        sa.Column("warnings", Json, nullable=False),
        sa.Column("error", Json),
        sa.Column("retry_of", sa.String()),
        sa.Column("approval", Json),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("api_calls", sa.Integer(), nullable=False),
        sa.Column("sweep_from", sa.BigInteger(), nullable=False),
        sa.Column("fingerprint", sa.String()),
        sa.Column("read_at", Time),
        sa.Column("created_at", Time, nullable=False),
        sa.Column("started_at", Time),
        sa.Column("finished_at", Time),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("run_source", "run", ["source_id", "id"])
    op.create_index("run_state", "run", ["state"])

    op.create_table(
        "target",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("source_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("config", Json, nullable=False),
        sa.Column("secrets", sa.LargeBinary(), nullable=False),
        sa.Column("guard", Json, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("wants_news", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("taken", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failing_since", Time),
        sa.Column("next_attempt_at", Time),
        sa.Column("sending_since", Time),
        sa.Column("open_approval", sa.String()),
        sa.Column("last_error", Json),
        sa.Column("last_delivered_at", Time),
        sa.Column("created_at", Time, nullable=False),
        sa.Column("updated_at", Time, nullable=False),
        sa.Column("deleted_at", Time),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_target_channel", "target", ["channel"])
    op.create_index("ix_target_source_id", "target", ["source_id"])

    op.create_table(
        "user",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("source_id", sa.String(), nullable=False),
        sa.Column("user_key", sa.String(), nullable=False),
        sa.Column("userid", sa.String(), nullable=False),
        sa.Column("name", sa.String()),
        sa.Column("alias", sa.String()),
        sa.Column("position", sa.String()),
        sa.Column("status", sa.Integer()),
        sa.Column("mobile", sa.String()),
        sa.Column("email", sa.String()),
        sa.Column("biz_mail", sa.String()),
        sa.Column("telephone", sa.String()),
        sa.Column("gender", sa.String()),
        sa.Column("avatar", sa.String()),
        sa.Column("address", sa.String()),
        sa.Column("direct_leaders", Json),
        sa.Column("main_department_id", sa.BigInteger()),
        sa.Column("extattrs", Json),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("unmanaged_since", Time),
        sa.Column("hash", sa.String()),
        sa.Column("hash_mobile", sa.String()),
        sa.Column("hash_email", sa.String()),
        sa.Column("hash_biz_mail", sa.String()),
        sa.Column("hash_gender", sa.String()),
        sa.Column("hash_avatar", sa.String()),
        sa.Column("hash_address", sa.String()),
        sa.Column("observed", sa.BigInteger(), nullable=False),
        sa.Column("observed_at", Time, nullable=False),
        sa.Column("created_at", Time, nullable=False),
        sa.Column("updated_at", Time, nullable=False),
        sa.Column("deactivated_at", Time),
        sa.Column("superseded_at", Time),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "user_key_unique",
        "user",
        ["source_id", "user_key"],
        unique=True,
        sqlite_where=sa.text("superseded_at IS NULL"),
        postgresql_where=sa.text("superseded_at IS NULL"),
    )

    op.create_table(
        "delivery",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("target_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("object_id", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("actions", Json, nullable=False),
        sa.Column("previous", Json, nullable=False),
        sa.Column("run_id", sa.String()),
        sa.Column("held", sa.Boolean(), nullable=False),
        sa.Column("approved", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("attempts", Json, nullable=False),
        sa.Column("next_attempt_at", Time),
        sa.Column("created_at", Time, nullable=False),
        sa.Column("changed_at", Time, nullable=False),
        sa.Column("finished_at", Time),
        sa.ForeignKeyConstraint(["target_id"], ["target.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("delivery_due", "delivery", ["target_id", "state", "rank", "id"])
    op.create_index(
        "delivery_open",
        "delivery",
        ["target_id", "object_id"],
        unique=True,
        sqlite_where=sa.text("state <> 'delivered'"),
        postgresql_where=sa.text("state <> 'delivered'"),
    )
    op.create_index("delivery_run", "delivery", ["run_id"])
    op.create_index("ix_delivery_finished_at", "delivery", ["finished_at"])

    op.create_table(
        "link",
        sa.Column("target_id", sa.String(), nullable=False),
        sa.Column("object_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("remote_id", sa.String()),
        sa.Column("digest", sa.String()),
        sa.Column("present", sa.Boolean(), nullable=False),
        sa.Column("removed_at", Time),
        sa.Column("at", Time, nullable=False),
        sa.ForeignKeyConstraint(["target_id"], ["target.id"]),
        sa.PrimaryKeyConstraint("target_id", "object_id"),
    )
    op.create_table(
        "membership",
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("department_id", sa.BigInteger(), nullable=False),
        sa.Column("source_id", sa.String(), nullable=False),
        sa.Column("order", sa.BigInteger(), nullable=False),
        sa.Column("is_leader", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"]),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"]),
        sa.PrimaryKeyConstraint("user_id", "department_id"),
    )
    op.create_index("membership_department", "membership", ["source_id", "department_id", "user_id"])

    op.create_table(
        "planned_change",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("object_id", sa.String()),
        sa.Column("previous_key", sa.String()),
        sa.Column("before", Json, nullable=False),
        sa.Column("after", Json, nullable=False),
        sa.Column("observed", sa.BigInteger(), nullable=False),
        sa.Column("guarded", sa.String()),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String()),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("planned_next", "planned_change", ["run_id", "state", "rank", "id"])
    op.create_index("planned_run", "planned_change", ["run_id", "id"])

    # Observation numbers: a sequence where there are sequences, else a row from which blocks are reserved.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("CREATE SEQUENCE observation")
    else:
        op.execute("INSERT INTO counter (name, value) VALUES ('observation', 0)")
