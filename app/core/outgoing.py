"""What goes out to a target: an object as it is now, what is known of it over there, and what the target answered."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

ObjectKind = Literal["department", "user", "run", "target"]


@dataclass(frozen=True, slots=True)
class Origin:
    """The source whose directory goes out."""

    source_id: str
    corp_id: str


@dataclass(frozen=True, slots=True)
class Link:
    """What a target acknowledged of one object: their id (where they have one), the digest of the record that was sent
    last, and whether the object is there (False once it was removed or emptied)."""

    remote_id: str | None
    digest: str | None
    present: bool


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One object for one target, as it is now; everything that waited for it is in it.

    `value` is the object as the REST API answers it (times as RFC 3339 text), of a user with our department `id` in
    each seat, of a department with `parent` (the id, ours, of its active parent) and `depth` (0 for a top node).
    `actions` are those of the changes it stands for, oldest first, empty when a resync sends it; `previous` holds the
    values before them, of the changed fields only. `sequence` is the number of the last of them in the feed of the
    source, or the newest number there when a resync sends it: a later state of an object has a larger one, or the same.
    `at` is when that change was made.
    """

    delivery_id: str
    kind: ObjectKind
    object_id: str
    key: str
    sequence: int
    at: datetime
    value: Mapping[str, Any]
    actions: tuple[str, ...] = ()
    previous: Mapping[str, Any] = field(default_factory=dict)
    link: Link | None = None

    @property
    def removal(self) -> bool:
        """Whether the target has something that is gone with us."""
        return self.link is not None and self.link.present and not self.value.get("active", True)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one object: taken, to be tried again, or dead (waits for a person).

    `code` and `message` say why; neither holds people's data. `status` is the HTTP status where there was an answer.
    """

    state: Literal["delivered", "retrying", "dead"]
    code: str | None = None
    message: str = ""
    status: int | None = None
    remote_id: str | None = None


@dataclass(frozen=True, slots=True)
class Pairing:
    """What the first write of an object would do over there: bind to an existing one, create, or hit a conflict."""

    state: Literal["matched", "create", "conflict"]
    remote_id: str | None = None
    reason: str = ""
