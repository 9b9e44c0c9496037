"""The guard: how much may be destroyed without asking a person."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.core.directory import Change, GuardKind

COUNTED = {"deactivate": "deactivate", "department": "remove", "membership": "remove", "blank": "update"}
"""Which action of a guarded change counts against its limit: the rest of the set only shares its fate."""


@dataclass(frozen=True, slots=True)
class Limit:
    """More than `max_count` objects or more than `max_percent` (0 to 100) of those that exist trips the guard.

    With fewer than `floor` existing objects only losing all of them does.
    """

    max_percent: float = 10
    max_count: int = 500
    floor: int = 20


@dataclass(frozen=True, slots=True)
class Policy:
    """A source's limits: one for all kinds, and exceptions by kind."""

    default: Limit = Limit()
    kinds: Mapping[str, Limit] = field(default_factory=dict)

    @classmethod
    def of(cls, guard: Mapping[str, Any]) -> "Policy":
        """From a source's `guard` configuration; what it leaves out has its default."""
        default = {name: guard[name] for name in ("max_percent", "max_count", "floor") if guard.get(name) is not None}
        kinds = {kind: Limit(**{**default, **own}) for kind, own in (guard.get("kinds") or {}).items()}
        return cls(Limit(**default), kinds)

    def limit(self, kind: str) -> Limit:
        return self.kinds.get(kind, self.default)


@dataclass(frozen=True, slots=True)
class Loss:
    """What a plan destroys of one kind (for `blank`: in one field): `lost` now, `recent` in the sliding window."""

    kind: GuardKind
    lost: int
    existing: int
    field: str | None = None
    recent: int = 0


@dataclass(frozen=True, slots=True)
class Trip:
    """A limit that a plan exceeds."""

    loss: Loss
    limit: Limit

    @property
    def message(self) -> str:
        what = {"deactivate": "people", "department": "departments", "membership": "memberships"}.get(
            self.loss.kind, f"values of {self.loss.field}"
        )
        verb = "deactivate" if self.loss.kind == "deactivate" else "remove"
        return (
            f"The plan would {verb} {self.loss.lost} of {self.loss.existing} {what} "
            f"(limit: {self.limit.max_percent:g} % or {self.limit.max_count})."
        )


def trips(loss: Loss, limit: Limit) -> bool:
    """Whether a loss exceeds its limit. One person clearing the only value of a field is never an accident to stop."""
    lost, existing = loss.lost + loss.recent, loss.existing + loss.recent
    if loss.lost == 0:
        return False
    if existing < limit.floor:
        return lost >= existing and (loss.kind != "blank" or lost > 1)
    share = round(limit.max_percent * existing, 6)  # 2.3 * 3000 is a little below 6900, and 69 of 3000 are 2.3 per cent
    return lost > limit.max_count or lost * 100 > share


def judge(losses: Iterable[Loss], policy: Policy) -> list[Trip]:
    """The limits that the losses of one plan exceed; empty when the plan may be carried out whole."""
    return [Trip(loss, policy.limit(loss.kind)) for loss in losses if trips(loss, policy.limit(loss.kind))]


Destroyed = frozenset[tuple[str, str, str]]


def destroyed(change: Change) -> Iterable[tuple[str, str, str]]:
    """What one guarded change destroys, as comparable marks: the ceiling of an approval is made of them."""
    if change.guarded == "blank":
        return [(change.kind, f"blank:{name}", change.key.lower()) for name in change.after]
    if change.guarded and change.action == COUNTED[change.guarded]:
        return [(change.kind, change.action, change.key.lower())]
    return []


def digest(marks: Iterable[tuple[str, str, str]]) -> str:
    """The SHA-256 of the destructive part of a plan, independent of order; what an approval is bound to."""
    return hashlib.sha256(json.dumps(sorted(marks), ensure_ascii=False).encode()).hexdigest()
