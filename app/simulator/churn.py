"""A company that lives: random joins, leaves, moves and edits, one at a time or at a rate."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from app.simulator.background import ended
from app.simulator.company import Company, CompanyError
from app.simulator.events import Event
from app.simulator.generate import person
from app.simulator.records import ROOT, Membership


class Churn:
    """Random changes of a company, the same ones for the same seed and the same beginning."""

    def __init__(self, company: Company, seed: int = 1) -> None:
        self._company = company
        self._random = random.Random(seed)
        self._serial = 0
        self._left: list[tuple[str, str]] = []
        weighted: list[tuple[Callable[[], list[Event]], int]] = [
            (self._join, 6), (self._leave, 5), (self._return, 2), (self._move, 8), (self._edit, 6), (self._status, 3),
            (self._lead, 3), (self._rename_userid, 2), (self._create_department, 3), (self._move_department, 2),
            (self._rename_department, 2), (self._delete_department, 2), (self._reorder, 2),
        ]  # fmt: skip
        self._steps = [step for step, weight in weighted for _ in range(weight)]

    def step(self) -> list[Event]:
        """One change; the events it raised (none if chance chose an impossible one, such as moving the root)."""
        try:
            return self._random.choice(self._steps)()
        except CompanyError:
            return []

    def steps(self, count: int) -> list[Event]:
        return [event for _ in range(count) for event in self.step()]

    def _someone(self) -> str:
        users = self._company.records.users
        if not users:
            raise CompanyError(60111, "nobody is left")
        # A dictionary has no random access; looking at a few thousand keys keeps a step cheap in a large company.
        reach = min(len(users), 5000)
        keys = iter(users)
        for _ in range(self._random.randrange(reach)):
            next(keys)
        return next(keys)

    def _somewhere(self) -> int:
        return self._random.choice(list(self._company.records.departments))

    def _places(self) -> list[int | Membership]:
        ids = dict.fromkeys(self._somewhere() for _ in range(self._random.choice((1, 1, 1, 2, 3))))
        return [Membership(id, self._random.randrange(1000)) for id in ids]

    def _join(self) -> list[Event]:
        self._serial += 1
        name, userid = person(self._random)
        return self._company.join(f"{userid}-n{self._serial}", name, self._places())

    def _leave(self) -> list[Event]:
        user = self._company.user(self._someone())
        self._left.append((user.userid, user.name))
        return self._company.leave(user.userid)

    def _return(self) -> list[Event]:
        if not self._left:
            return self._join()
        return self._company.join(*self._left.pop(), self._places())

    def _move(self) -> list[Event]:
        return self._company.move(self._someone(), self._places())

    def _edit(self) -> list[Event]:
        choices: list[dict[str, object]] = [
            {"name": person(self._random)[0]},
            {"position": self._random.choice(("工程师", "经理", "", "主管"))},
            {"alias": f"alias{self._random.randrange(100)}"},
            {"mobile": f"139{self._random.randrange(10**8):08d}"},
            {"telephone": ""},
            {"direct_leaders": (self._company.user(self._someone()).userid,)},
            {"extattrs": ({"type": 0, "name": "爱好", "text": {"value": str(self._random.randrange(9))}},)},
        ]
        return self._company.edit(self._someone(), **self._random.choice(choices))

    def _status(self) -> list[Event]:
        return self._company.set_status(self._someone(), self._random.choice((1, 1, 2, 4, 5)))

    def _lead(self) -> list[Event]:
        user = self._company.user(self._someone())
        return self._company.lead(user.userid, user.departments[0], not user.memberships[0].leader)

    def _reorder(self) -> list[Event]:
        user = self._company.user(self._someone())
        places = [place._replace(order=self._random.randrange(2**32)) for place in user.memberships]
        return self._company.move(user.userid, places)

    def _rename_userid(self) -> list[Event]:
        self._serial += 1
        return self._company.rename_userid(self._someone(), f"renamed{self._serial}")

    def _create_department(self) -> list[Event]:
        self._serial += 1
        return self._company.create_department(f"新部门{self._serial}", self._somewhere())

    def _move_department(self) -> list[Event]:
        return self._company.move_department(self._not_root(), self._somewhere())

    def _rename_department(self) -> list[Event]:
        self._serial += 1
        return self._company.rename_department(self._not_root(), f"改名部门{self._serial}")

    def _delete_department(self) -> list[Event]:
        return self._company.delete_department(self._not_root(), cascade=self._random.random() < 0.5)

    def _not_root(self) -> int:
        ids = [id for id in self._company.records.departments if id != ROOT]
        if not ids:
            raise CompanyError(60003, "only the root is left")
        return self._random.choice(ids)


class Live:
    """Churn in the background."""

    def __init__(self, churn: Churn) -> None:
        self._churn = churn
        self._task: asyncio.Task[None] | None = None
        self.rate = 0.0

    async def start(self, rate: float) -> None:
        """Make `rate` changes a second until `stop`; a running one changes its rate. Raises ValueError for none."""
        if rate <= 0:
            raise ValueError("rate must be more than 0")
        await self.stop()
        self.rate = rate
        self._task = asyncio.create_task(self._run(1 / rate))

    async def stop(self) -> None:
        self.rate = 0.0
        if self._task is not None:
            await ended(self._task)
            self._task = None

    async def _run(self, pause: float) -> None:
        while True:
            await asyncio.sleep(pause)
            self._churn.step()
