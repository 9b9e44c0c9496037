"""How a command ends: the exit codes that scripts rely on."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from app.errors import Refused, ServiceError, WorkerTaken
from app.sources.kinds import KINDS
from app.store.runs import Run


class Exit(IntEnum):
    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    """Wrong usage or settings."""
    FAILED_OBJECTS = 3
    """Finished, but some objects failed."""
    GUARD = 4
    """Stopped by the guard: a person must decide, or has refused."""
    REFUSED = 5
    """WeCom refused, or could not be reached."""
    RUNNING = 6
    """Already running."""


def of_error(error: ServiceError | WorkerTaken) -> Exit:
    """The exit code of a command that could not do its work."""
    if isinstance(error, WorkerTaken) or error.code == "run.already_active":
        return Exit.RUNNING
    if _is_upstream(error.code):
        return Exit.REFUSED
    return Exit.USAGE if isinstance(error, Refused) or error.code.startswith("keys.") else Exit.UNEXPECTED


def of_run(run: Run) -> Exit:
    """The exit code of a command that waited for this run, or only ordered it."""
    if run.state == "failed":
        return _of_failed(run.error or {})
    codes = {"partial": Exit.FAILED_OBJECTS, "awaiting_approval": Exit.GUARD, "rejected": Exit.GUARD}
    return Exit.UNEXPECTED if run.state == "cancelled" else codes.get(run.state, Exit.OK)


def _of_failed(error: Mapping[str, Any]) -> Exit:
    return Exit.REFUSED if _is_upstream(str(error.get("code"))) else Exit.UNEXPECTED


def _is_upstream(code: str) -> bool:
    """Codes of refusals begin with the name of the kind of source."""
    return code.partition(".")[0] in KINDS
