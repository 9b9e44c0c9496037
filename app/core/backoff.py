"""How long to wait before trying again."""

import random


def backoff(failures: int, *, after: float | None = None, first: float = 1.0, longest: float = 300.0) -> float:
    """Seconds to wait after so many failures in a row: doubled each time, with a fifth of jitter; `after` is the least.

    `failures` counts from 1.
    """
    wait = min(longest, first * 2.0 ** min(failures - 1, 20)) * random.uniform(0.8, 1.2)  # noqa: S311 - jitter
    return max(wait, after or 0.0)
