"""Scripted faults: what goes wrong, at which call, how often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from app.simulator.calls import Call

Kind = Literal["errcode", "http", "cut", "garbage", "truncated", "empty", "slow"]


@dataclass(slots=True)
class Fault:
    """One fault. `kind`:

    `errcode` answers that code, `http` that status with an HTML page, `cut` breaks the connection in the answer,
    `garbage` answers bytes that are no JSON, `truncated` half of the right JSON, `empty` nothing, and `slow` the right
    answer after `seconds`. It strikes at call number `call`, or at calls of `path` (None: any) for which `where`
    holds, from the `nth` of them (1-based), `times` times (None: for ever).
    """

    kind: Kind
    errcode: int = -1
    status: int = 502
    seconds: float = 10.0
    path: str | None = None
    call: int | None = None
    nth: int = 1
    times: int | None = 1
    where: Callable[[Call], bool] | None = None
    seen: int = 0
    struck: int = 0

    def meets(self, call: Call) -> bool:
        """Count the call if it is one of ours, and tell whether it is due to be hit."""
        if self.call not in (None, call.number) or self.path not in (None, call.path):
            return False
        if self.where is not None and not self.where(call):
            return False
        self.seen += 1
        return self.seen >= self.nth and (self.times is None or self.struck < self.times)


class Faults(list[Fault]):
    """The faults in force; where several are due the first strikes."""

    def take(self, call: Call) -> Fault | None:
        """The fault that hits this call, if any."""
        due = [fault for fault in self if fault.meets(call)]
        for fault in due[:1]:
            fault.struck += 1
        return due[0] if due else None


def parse(values: dict[str, Any]) -> Fault:
    """A fault from JSON; raises ValueError for an unknown kind or a wrong member."""
    if values.get("kind") not in get_args(Kind):
        raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}")
    allowed = {"kind", "errcode", "status", "seconds", "path", "call", "nth", "times"}
    if set(values) - allowed:
        raise ValueError(f"unknown: {', '.join(sorted(set(values) - allowed))}")
    return Fault(**values)
