"""How the simulated WeCom behaves: everything that the documentation leaves open, or that goes wrong in real life."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, fields
from typing import Any, Literal


class Clock:
    """The simulator's time: real time plus what was skipped with `advance`."""

    def __init__(self) -> None:
        self._skipped = 0.0

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time() + self._skipped

    def advance(self, seconds: float) -> None:
        """Let tokens grow old and rate windows pass without waiting."""
        self._skipped += seconds


@dataclass(slots=True)
class DeliverySettings:
    """How callbacks are sent. Shares are probabilities from 0 to 1, times are seconds.

    `reorder` shuffles whatever is waiting; `delay` is the range from which each delivery draws its own wait.
    """

    loss: float = 0.0
    duplicate: float = 0.0
    bad_signature: float = 0.0
    foreign_receiver: float = 0.0
    garbage: float = 0.0
    reorder: bool = False
    delay: tuple[float, float] = (0.0, 0.0)
    attempts: int = 3
    timeout: float = 5.0
    verify_timeout: float = 1.0
    retry_pause: float = 1.0
    retry_refusals: bool = True
    reencrypt: bool = True
    escape_plus: bool = True
    cdata: bool = True
    concurrency: int = 4
    seed: int = 1


@dataclass(slots=True)
class SimulatorSettings:
    """The behaviour of the API; every attribute may be changed while it runs.

    `latency`: seconds added to each call. `lag`: seconds during which reads still show the state before a change
    (`math.inf`: until `Simulator.catch_up`). `caller_ip`: the address that WeCom sees instead of the real one.
    Limits (page 90312): calls per minute and per hour of each path, calls of one path at the same time;
    `minute_limits` overrides single paths.
    """

    latency: float = 0.0
    lag: float = 0.0
    caller_ip: str | None = None
    token_seconds: int = 7200
    rotate_tokens: bool = False
    wrong_secret_limit: int = 2000
    minute_limit: int = 10_000
    hour_limit: int = 150_000
    minute_limits: dict[str, int] = field(default_factory=dict)
    concurrency_limit: int = 30
    answer_limit: int = 30_000
    withheld_as: Literal["absent", "empty"] = "absent"
    legacy_keys: bool = False
    omit_empty_ranges: bool = False
    last_cursor_empty: bool = False
    cursor_seconds: float = 600.0
    out_of_range_code: int = 60011
    unknown_department_code: int = 60003
    callback_ips: tuple[str, ...] = ("127.0.0.1",)
    api_ips: tuple[str, ...] = ("127.0.0.1",)
    log_size: int = 200_000
    delivery: DeliverySettings = field(default_factory=DeliverySettings)


def change(settings: SimulatorSettings | DeliverySettings, values: dict[str, Any]) -> None:
    """Set attributes from JSON; raises ValueError for an unknown name or a value of another type."""
    names = {one.name for one in fields(settings)}
    for name, value in values.items():
        if name not in names:
            raise ValueError(f"no setting {name}")
        current = getattr(settings, name)
        if isinstance(current, DeliverySettings):
            change(current, value)
            continue
        setattr(settings, name, _fitting(name, current, value))


def _fitting(name: str, current: object, value: Any) -> Any:
    if isinstance(current, tuple) and isinstance(value, list):
        return tuple(value)
    if isinstance(current, float) and type(value) is int:
        return float(value)
    if current is not None and type(value) is not type(current):
        raise ValueError(f"{name} must be a {type(current).__name__}")
    return value
