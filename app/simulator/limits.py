"""WeCom's call limits per API (page 90312): 45009 for as long as the window, 45033 for too many calls at once."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager

from app.simulator.settings import Clock, SimulatorSettings


class Window:
    """Calls within a sliding window of `seconds`, counted by the second."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        self.total = 0
        self.blocked_until = 0.0
        self._counts: deque[list[int]] = deque()

    def admit(self, now: float, limit: int) -> bool:
        """Count one call; False while blocked, and the first call over the limit blocks for the whole window."""
        if now < self.blocked_until:
            return False
        while self._counts and self._counts[0][0] <= now - self.seconds:
            self.total -= self._counts.popleft()[1]
        if self.total >= limit:
            self.blocked_until = now + self.seconds
            return False
        if not self._counts or self._counts[-1][0] != int(now):
            self._counts.append([int(now), 0])
        self._counts[-1][1] += 1
        self.total += 1
        return True


class Limits:
    """Counts every path's calls; `violations` holds how often each path went over a limit, by errcode."""

    def __init__(self, clock: Clock, settings: SimulatorSettings) -> None:
        self._clock, self._settings = clock, settings
        self._windows: dict[tuple[str, int], Window] = {}
        self._inside: Counter[str] = Counter()
        self._wrong = Window(3600)
        self.peak: Counter[str] = Counter()
        self.violations: Counter[tuple[str, int]] = Counter()

    @contextmanager
    def inside(self, path: str) -> Iterator[bool]:
        """While a call of this path is being answered; tells whether there were already as many as allowed."""
        self._inside[path] += 1
        self.peak[path] = max(self.peak[path], self._inside[path])
        try:
            yield self._inside[path] > self._settings.concurrency_limit
        finally:
            self._inside[path] -= 1

    def refusal(self, path: str, crowded: bool) -> int:
        """0, 45033 or 45009 for one more call of this path."""
        code = 45033 if crowded else 0 if self._admitted(path) else 45009
        if code:
            self.violations[path, code] += 1
        return code

    def _admitted(self, path: str) -> bool:
        minute = self._settings.minute_limits.get(path, self._settings.minute_limit)
        now = self._clock.now()
        return all(
            self._windows.setdefault((path, seconds), Window(seconds)).admit(now, limit)
            for seconds, limit in ((60, minute), (3600, self._settings.hour_limit))
        )

    def wrong_secret(self) -> bool:
        """Count a wrong secret; True once there were so many within an hour that the caller's address is barred."""
        return not self._wrong.admit(self._clock.now(), self._settings.wrong_secret_limit)

    @property
    def barred(self) -> bool:
        return self._clock.now() < self._wrong.blocked_until

    def reset(self) -> None:
        """Forget counts, blocks, peaks and violations; calls in flight stay counted."""
        self._windows.clear()
        self._wrong = Window(3600)
        self.peak.clear()
        self.violations.clear()
