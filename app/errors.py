"""Everything the service raises on purpose. The class says who acts next.

    ServiceError
    ├── TryLater   nobody: the worker tries again by itself, after `after` seconds if given
    ├── AskAdmin   the administrator: something must be clicked or corrected first
    ├── SkipOne    one record is set aside with its reason, the work goes on
    ├── Refused    the caller of the API or the command line: the request cannot be carried out
    └── Fenced     this worker lost its lease: it stops, somebody else goes on

Anything else that is raised is a bug and is reported as one.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True)
class Upstream:
    """What the other side said: WeCom's errcode and errmsg (never a URL, never a token)."""

    errcode: int
    errmsg: str


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field of a request; `pointer` is a JSON Pointer (RFC 6901)."""

    pointer: str
    message: str


@dataclass(eq=False)
class ServiceError(Exception):
    """`code` is stable and has texts in three languages; `params` fill the placeholders of those texts.

    `message` and `hint` are the English texts, for logs and records; an answer is rendered from the code.
    """

    code: str
    message: str
    hint: str = ""
    params: dict[str, str | int] = field(default_factory=dict)
    upstream: Upstream | None = None

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    def record(self) -> dict[str, object]:
        """The error as a run or an event keeps it."""
        upstream = asdict(self.upstream) if self.upstream else None
        return {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "params": self.params,
            "upstream": upstream,
        }


@dataclass(eq=False)
class TryLater(ServiceError):
    """A passing fault; `after` is the number of seconds to wait, None leaves it to the caller's backoff."""

    after: float | None = None


@dataclass(eq=False)
class AskAdmin(ServiceError):
    """Trying again does not help until a person has changed something."""


@dataclass(eq=False)
class SkipOne(ServiceError):
    """One record cannot be used."""


@dataclass(eq=False)
class Refused(ServiceError):
    """A request that is not carried out; `status` is its HTTP status, `errors` name the fields of bad input."""

    status: int = 409
    errors: Sequence[FieldError] = ()
    headers: dict[str, str] = field(default_factory=dict)
    extra: dict[str, object] = field(default_factory=dict)


class Fenced(Exception):
    """The lease of this work belongs to another worker now; nothing of the open transaction was written."""


class WorkerTaken(Exception):
    """Another process already works on this database (SQLite allows one)."""
