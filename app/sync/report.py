"""What a run tells while it works: its progress, its warnings, and whether it has been asked to stop."""

import time
from typing import Any, Final

from app.store import runs
from app.store.db import now
from app.store.runs import Run
from app.sync.work import Work

EVERY_SECONDS: Final = 0.3


class Cancelled(Exception):
    """An administrator asked to stop the run."""


class Report:
    """The words of one run."""

    def __init__(self, work: Work, run: Run) -> None:
        self.warnings: list[dict[str, Any]] = []
        self._work, self._run = work, run
        self._before = run.api_calls - work.reader.calls
        self._told = 0.0

    @property
    def api_calls(self) -> int:
        """Calls sent for this run, by former workers too."""
        return self._before + self._work.reader.calls

    async def progress(self, stage: str, done: int = 0, total: int = 0, *, force: bool = False) -> None:
        """Write how far the run is, at most three times a second; raises Cancelled when that was asked for."""
        if not force and time.monotonic() - self._told < EVERY_SECONDS:
            return
        self._told = time.monotonic()
        values = {"stage": stage, "done": done, "total": total, "read_at": now(), "api_calls": self.api_calls}
        async with self._work.db.fenced(self._work.lease) as conn:
            cancelled = await runs.save(conn, self._run.id, **values)
        if cancelled:
            raise Cancelled

    def warn(self, code: str, message: str) -> None:
        """Add a warning once."""
        warning = {"code": code, "message": message}
        if warning not in self.warnings:
            self.warnings.append(warning)
