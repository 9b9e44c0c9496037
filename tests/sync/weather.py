"""What a directory lives through: a company in motion, events that get lost, repeated and mixed up, faults, stale
reads, a visible range that changes; and a witness who knows what was true at which time."""

import math
import random
import time
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any

from app.simulator import Event, Fault, Range, Simulator
from app.simulator.records import Op
from tests.sync.harness import Bench

FAULTS = (
    Fault("errcode", errcode=-1),
    Fault("errcode", errcode=42001),
    Fault("errcode", errcode=45033),
    Fault("errcode", errcode=60111, path="user/get"),
    Fault("http"),
    Fault("cut"),
    Fault("garbage"),
    Fault("truncated"),
    Fault("empty"),
)
Interval = list[float]


class Witness:
    """Since when until when each userid named nobody, or somebody who has left, as far as a read could show it."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.absent: dict[str, list[Interval]] = {}
        self.left: dict[str, list[Interval]] = {}
        self.renamed: set[str] = set()
        self.asked: list[tuple[int, float]] = [(0, -math.inf)]
        self._lagging: list[Interval] = []
        for user in simulator.company.records.users.values():
            self._note(user.key, user.status, -math.inf)
        simulator.company.records.watchers.append(self._changed)

    async def observing(self, number: int) -> int:
        """Keep the time at which an observation number was taken."""
        self.asked.append((number, time.time()))
        return number

    def caught_up(self) -> None:
        """Reads show the present again."""
        for interval in self._lagging:
            interval[1] = time.time()
        self._lagging.clear()

    def check(self, feed: list[dict[str, Any]]) -> int:
        """Nobody was deactivated who was there all the time since the read that began the proof; how many were."""
        leavers = [row for row in feed if row["kind"] == "user" and row["action"] == "deactivate"]
        for row in leavers:
            key, until = row["key"].lower(), row["at"].timestamp()
            since = self.asked[bisect_right(self.asked, (row["observed"], math.inf)) - 1][1]
            if row["reason"] == "renamed":
                assert key in self.renamed
                continue
            known = self.left if row["reason"] is None else self.absent
            assert any(start <= until and end >= since for start, end in known.get(key, [])), row
        return len(leavers)

    def _changed(self, op: Op) -> None:
        if op.kind != "user":
            return
        self._note(op.key, op.value.status if op.value else None, time.time())

    def _note(self, key: str, status: int | None, at: float) -> None:
        for known, holds in ((self.absent, status is None), (self.left, status == 5)):
            intervals = known.setdefault(key, [])
            open_ = bool(intervals) and intervals[-1][1] == math.inf and intervals[-1] not in self._lagging
            if holds and not open_:
                intervals.append([at, math.inf])
            if not holds and open_:
                self._close(intervals[-1], at)

    def _close(self, interval: Interval, at: float) -> None:
        if self.simulator.settings.lag:
            self._lagging.append(interval)  # a read goes on showing it until it catches up
        else:
            interval[1] = at


@dataclass
class Weather:
    """Chance by a seed; `form` is that of the events, `told` those that are still on their way."""

    desk: Bench
    witness: Witness
    dice: random.Random
    form: str = "ids"
    told: list[Event] = field(default_factory=list)

    @property
    def simulator(self) -> Simulator:
        return self.desk.simulator

    def changes(self, count: int) -> None:
        """The company changes; of what it says a part gets lost, a part comes twice."""
        self.keep(self.simulator.churn.steps(count))

    def keep(self, events: list[Event]) -> None:
        for event in events:
            self.witness.renamed |= {event.new_key.lower()} if event.new_key else set()
            self.told += [event] * self.dice.choice((0, 1, 1, 1, 2))

    async def deliver(self, share: float = 0.7) -> None:
        """A part of what is on its way arrives, in no order."""
        self.dice.shuffle(self.told)
        count = math.ceil(len(self.told) * share)
        arrived, self.told = self.told[:count], self.told[count:]
        await self.desk.tell(*arrived, form=self.form, apps=True)
        self.desk.worker.wake("events", self.desk.source.id)

    async def between(self) -> None:
        """Something happens between two calls of whoever is reading."""
        self.changes(self.dice.randrange(1, 4))
        if self.dice.random() < 0.6:
            await self.deliver(self.dice.random())

    def brew(self, calls: int = 60) -> None:
        """Faults, changes in the middle of what follows, and perhaps stale reads."""
        self.simulator.reset()
        for _ in range(self.dice.randrange(4)):
            fault = self.dice.choice(FAULTS)
            number = self.dice.randrange(1, calls)
            self.simulator.faults.append(Fault(fault.kind, fault.errcode, path=fault.path, call=number))
        for _ in range(self.dice.randrange(6)):
            self.simulator.before_call(self.dice.randrange(1, calls), self.between)
        if self.dice.random() < 0.4:
            self.simulator.lag(self.dice.choice((0.05, 30.0)))

    def clear(self) -> None:
        self.simulator.reset()
        self.simulator.catch_up()
        self.witness.caught_up()

    def turn_range(self) -> None:
        """The administrator of WeCom narrows or widens what the app may see."""
        records = self.simulator.company.records
        some = self.dice.sample(list(records.departments), min(3, len(records.departments)))
        few = self.dice.sample(list(records.users), min(4, len(records.users)))
        tags = self.dice.sample(list(records.tags), 2)
        visible = self.dice.choice(
            (
                Range.of(departments=[1]),
                Range.of(departments=some),
                Range.of(departments=some[:1], users=few),
                Range.of(departments=some[:1], tags=tags),
            )
        )
        self.keep(self.simulator.company.set_range(self.simulator.company.app, visible))

    def turn_tag(self) -> None:
        """Somebody, or a department, gets a tag or loses it."""
        records = self.simulator.company.records
        tag = records.tags[self.dice.choice(list(records.tags))]
        user, place = self.dice.choice(list(records.users)), self.dice.choice(list(records.departments))
        change = self.dice.choice(
            [
                {"add_users": [user]},
                {"remove_users": list(tag.users)[:2]},
                {"add_departments": [place]},
                {"remove_departments": list(tag.departments)},
            ]
        )
        self.keep(self.simulator.company.change_tag(tag.id, **change))
