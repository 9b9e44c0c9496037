"""Stale reads: the API answers from a copy that learns of each change some seconds later."""

from __future__ import annotations

from collections import deque

from app.simulator.records import Op, Records
from app.simulator.settings import Clock, SimulatorSettings


class LaggingReads:
    """The records that the API shows; the true ones as long as no lag is set and nothing waits."""

    def __init__(self, records: Records, clock: Clock, settings: SimulatorSettings) -> None:
        self._true, self._clock, self._settings = records, clock, settings
        self._copy: Records | None = None
        self._waiting: deque[tuple[float, Op]] = deque()
        records.watchers.append(self._changed)

    def prepare(self) -> None:
        """Make the copy if a lag is set; must run before the first change that is to lag."""
        if self._settings.lag and self._copy is None:
            self._copy = self._true.copy()

    def current(self) -> Records:
        """What a read may see now."""
        self.prepare()
        if self._copy is None:
            return self._true
        while self._waiting and self._waiting[0][0] <= self._clock.now():
            self._copy.apply(self._waiting.popleft()[1])
        if not self._waiting and not self._settings.lag:
            self._copy = None
        return self._copy or self._true

    def catch_up(self) -> None:
        """Show every change at once."""
        while self._copy and self._waiting:
            self._copy.apply(self._waiting.popleft()[1])

    def _changed(self, op: Op) -> None:
        if self._copy is not None:
            self._waiting.append((self._clock.now() + self._settings.lag, op))
