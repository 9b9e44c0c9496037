"""Figures for Prometheus: requests and callbacks counted here, the rest read from the tables when asked for.

What the tables say is true whichever process did the work. Labels hold ids of sources, never of people.
"""

from collections.abc import Iterator
from functools import cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.store.facts import Facts

PREFIX: Final = "wecom_sync"
DELIVERY: Final = ["target", "state"]
FAST: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """The counters of one process."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()
        self._requests = Histogram(
            f"{PREFIX}_http_request_duration_seconds",
            "Requests answered, by operation.",
            ["method", "operation", "status"],
            buckets=FAST,
            registry=self.registry,
        )
        self._callbacks = Counter(
            f"{PREFIX}_callback_requests", "Callbacks by result.", ["result"], registry=self.registry
        )
        # Looking a labelled child up costs more than counting with it; there are few of them.
        self._request = cache(lambda method, operation, status: self._requests.labels(method, operation, str(status)))
        self._callback = cache(self._callbacks.labels)
        build = GaugeMetricFamily(f"{PREFIX}_build_info", "The version that runs; always 1.", labels=["version"])
        build.add_metric([version], 1)
        self._build = build

    def request(self, method: str, operation: str, status: int, seconds: float) -> None:
        """Count one finished request; methods that nobody defined share a label."""
        known = method if method in ("GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS") else "other"
        self._request(known, operation, status).observe(seconds)

    def callback(self, result: str) -> None:
        """Count one callback: stored, duplicate, verified, or why it was refused."""
        self._callback(result).inc()

    def render(self, facts: Facts) -> bytes:
        """Everything in Prometheus' text format."""
        tables = CollectorRegistry()
        tables.register(_Tables(facts, self._build))
        return generate_latest(self.registry) + generate_latest(tables)


class _Tables(Collector):
    def __init__(self, facts: Facts, build: Metric) -> None:
        self._facts = facts
        self._build = build

    def collect(self) -> Iterator[Metric]:
        facts = self._facts
        yield self._build
        yield _counter("sync_runs", "Runs by kind and state.", ["source", "kind", "state"], facts.runs)
        yield _gauge("sync_in_progress", "Runs that are being worked on.", ["source"], facts.running)
        yield _gauge(
            "sync_last_success_timestamp_seconds",
            "End of the last full sync that succeeded.",
            ["source"],
            facts.succeeded,
        )
        yield _gauge("approval_open", "1 while a plan waits for an approval.", ["source"], facts.approvals)
        yield _gauge("objects", "Objects of the directory.", ["source", "type", "state"], facts.objects)
        yield _counter("object_changes", "Changes made: the newest number of the feed.", ["source"], facts.changes)
        yield _gauge("callback_events", "Events of the inbox.", ["source", "state"], facts.events)
        yield _gauge(
            "callback_last_received_timestamp_seconds", "When the last event came.", ["source"], facts.last_events
        )
        yield _gauge("target_state", "1 for the state that a target is in.", ["target", "state"], facts.targets)
        yield _gauge(
            "deliveries", "Deliveries by state; what was taken is kept for a week.", DELIVERY, facts.deliveries
        )
        yield _gauge("delivery_backlog", "Changes that a target has not been brought to.", ["target"], facts.backlog)
        yield _gauge(
            "delivery_oldest_pending_timestamp_seconds",
            "Since when the oldest delivery that waits does so.",
            ["target"],
            facts.oldest,
        )
        yield _gauge(
            "delivery_last_success_timestamp_seconds", "When a target last took something.", ["target"], facts.delivered
        )
        yield _gauge("worker_last_beat_timestamp_seconds", "When a worker last showed itself.", [], facts.beats)


def _gauge(name: str, text: str, labels: list[str], samples: dict[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=labels)
    for values, number in samples.items():
        family.add_metric(values, number)
    return family


def _counter(name: str, text: str, labels: list[str], samples: dict[tuple[str, ...], float]) -> Metric:
    family = CounterMetricFamily(f"{PREFIX}_{name}", text, labels=labels)
    for values, number in samples.items():
        family.add_metric(values, number)
    return family
