"""Comparing what a sweep staged with what we hold, and writing the whole plan down before anything is changed."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Final

from app.core.directory import Change, StoredUser, User
from app.core.plan import (
    parents_first,
    plan_department,
    plan_gone_department,
    plan_gone_user,
    plan_rename,
    plan_unseen_department,
    plan_unseen_user,
    plan_user,
)
from app.store import plans, staging
from app.store.changes import lock
from app.store.db import now
from app.store.directory import departed, in_sight, stored_departments, stored_users
from app.store.evidence import pending_renames
from app.store.runs import Run
from app.sync.report import Report
from app.sync.sweep import Sweep
from app.sync.work import Work, gather_bounded

ASK_ONE_BY_ONE: Final = 200
BATCH: Final = 500
NOT_FOUND: Final = 60111


class Planner:
    """The planning of one full run."""

    def __init__(self, work: Work, run: Run, sweep: Sweep, report: Report) -> None:
        self.work, self.run, self.db, self.report = work, run, work.db, report
        self.sweep, self.swept = sweep, sweep.swept
        self.readable: frozenset[str] = frozenset()

    async def plan(self) -> frozenset[str]:
        """Write the plan; returns the withheld fields that this sweep found readable."""
        await self.report.progress("plan", force=True)
        at, swept = now(), await self.db.observe()
        async with self.db.fenced(self.work.lease) as conn:
            await lock(conn, self.work.source.id)
            await plans.discard(conn, self.run.id)
            self.readable = frozenset(await staging.readable(conn, self.run.id))
            if not self.run.dry_run:
                await self.work.sources.record(conn, self.work.source.id, swept=swept, swept_at=at)
        gone = await self._plan_departments(at)
        async with self.db.read() as conn:
            places = await staging.staged_places(conn, self.run.id)
            renames = await pending_renames(conn, self.work.source.id)
        in_range = set(places) | gone
        renamed = await self._plan_users(in_range, renames)
        await self._plan_absent(at, in_range, renamed)
        async with self.db.fenced(self.work.lease) as conn:
            for (kind, key), reason in sorted(self.swept.bad.items()):
                await plans.fail(conn, self.run.id, kind, key, reason)
        return self.readable

    async def _plan_departments(self, at: datetime) -> set[int]:
        """Plan the departments; returns those proven gone."""
        source_id = self.work.source.id
        async with self.db.read() as conn:
            found = await staging.differing_departments(conn, self.run.id, source_id)
            differing = {department.department_id: (department, observed) for department, observed in found}
            unseen = await staging.missing_departments(conn, self.run.id, source_id)
            missing = [] if self.swept.incomplete else unseen
            held = await stored_departments(conn, source_id, {*differing, *missing})
        changes: list[Change] = []
        for department in parents_first(pair[0] for pair in differing.values()):
            number = department.department_id
            changes += plan_department(held.get(number), department, differing[number][1])
        gone, removals = await self._gone_departments(missing), list[Change]()
        depth = {d.department_id: i for i, d in enumerate(parents_first(item.value for item in held.values()))}
        for number in sorted(missing, key=lambda item: -depth[item]):
            if number in gone:
                removals += plan_gone_department(held[number], self.swept.since)
            else:
                changes += plan_unseen_department(held[number], self.swept.since, at)
        await self._add(changes, plans.DEPARTMENTS)
        await self._add(removals, plans.REMOVALS)
        return gone

    async def _gone_departments(self, missing: Collection[int]) -> set[int]:
        if not missing or not (self.swept.range.lists_ids or self.swept.range.everything):
            return set()
        if not self.swept.range.lists_ids:
            return set(missing)  # two complete lists with the root in range did not hold them
        _, present = await self.work.reader.department_ids()
        return {number for number in missing if number not in present}

    async def _plan_users(self, in_range: Collection[int], renames: dict[str, tuple[str, int]]) -> set[str]:
        """Plan the people who differ, in key order; returns the former keys of those who were renamed."""
        after, renamed = "", set[str]()
        while True:
            async with self.db.read() as conn:
                page = await staging.differing_users(
                    conn, self.run.id, self.work.source.id, read=self.readable, after=after, limit=BATCH
                )
                held = await stored_users(conn, self.work.source.id, {key for key, _, _ in page})
                former = await stored_users(
                    conn, self.work.source.id, {renames[k][0] for k, _, _ in page if k in renames}
                )
                people = [*held.values(), *former.values()]
                ending = {*in_range, *await departed(conn, self.work.source.id, people)}
            if not page:
                return renamed
            changes: list[Change] = []
            for key, observed, user in page:
                old = await self._renamed_from(key, renames) if key in renames and key not in held else None
                if old is not None:
                    renamed.add(old.value.key)
                    changes += plan_rename(old, None, user, observed, readable=self.readable, in_range=ending)
                else:
                    changes += plan_user(held.get(key), user, observed, readable=self.readable, in_range=ending)
            await self._add(changes, plans.PEOPLE)
            after = page[-1][0]
            await self.report.progress("plan")

    async def _renamed_from(self, key: str, renames: dict[str, tuple[str, int]]) -> StoredUser | None:
        old = renames[key][0]
        async with self.db.read() as conn:
            held = (await stored_users(conn, self.work.source.id, {old})).get(old)
            absent = old in await staging.unstaged(conn, self.run.id, {old})
        if held is None or not absent:
            return None
        read = await self.work.reader.user(held.value.userid)
        return held if read.user is None and read.bad is None else None

    async def _plan_absent(self, at: datetime, in_range: Collection[int], renamed: Collection[str]) -> None:
        bad = self.swept.bad
        missing = [key for key in await self._missing() if key not in renamed and ("user", key) not in bad]
        if not missing or self.swept.incomplete:
            return
        gone = await self._gone_users(missing, in_range)
        still = {key for key in await self._unstaged(missing) if ("user", key) not in bad}
        for start in range(0, len(missing), BATCH):
            keys = [key for key in missing[start : start + BATCH] if key in still]
            async with self.db.read() as conn:
                held = await stored_users(conn, self.work.source.id, keys)
            leavers = [c for k, item in held.items() if k in gone for c in plan_gone_user(item, self.swept.since)]
            unseen = [
                c for k, item in held.items() if k not in gone for c in plan_unseen_user(item, self.swept.since, at)
            ]
            await self._add(leavers, plans.LEAVERS)
            await self._add(unseen, plans.PEOPLE)

    async def _missing(self) -> list[str]:
        keys: list[str] = []
        while True:
            async with self.db.read() as conn:
                page = await staging.missing_users(
                    conn,
                    self.run.id,
                    self.work.source.id,
                    before=self.swept.since,
                    after=keys[-1] if keys else "",
                    limit=5000,
                )
            if not page:
                return keys
            keys += page

    async def _unstaged(self, keys: list[str]) -> set[str]:
        left: set[str] = set()
        for start in range(0, len(keys), BATCH):
            async with self.db.read() as conn:
                left |= await staging.unstaged(conn, self.run.id, keys[start : start + BATCH])
        return left

    async def _gone_users(self, missing: list[str], in_range: Collection[int]) -> set[str]:
        """Who of the missing is proven gone; whoever turns up while we ask is staged and planned."""
        if self.swept.range.lists_ids:
            gone = await self._not_listed(missing)
            await self._look_for([key for key in missing if key not in gone], in_range)
            return gone
        if not self.swept.range.everything:
            return set()
        if len(missing) > ASK_ONE_BY_ONE:
            return await self._sweep_again(missing, in_range)
        gone = await self._ask(missing, in_range)
        return gone if not gone or await self.sweep.same_range() else set()

    async def _look_for(self, listed: list[str], in_range: Collection[int]) -> None:
        """Who exists and was in sight before has perhaps only moved while we read."""
        lost: list[str] = []
        for start in range(0, len(listed), BATCH):
            async with self.db.read() as conn:
                lost += await in_sight(conn, self.work.source.id, listed[start : start + BATCH])
            if len(lost) > ASK_ONE_BY_ONE:
                return
        if self.swept.range.details:
            await self._ask(lost, in_range)

    async def _sweep_again(self, missing: list[str], in_range: Collection[int]) -> set[str]:
        """Too many to ask one by one: whom a second complete sweep does not see either is gone."""
        whole = await self.sweep.read_users_again()
        still = await self._unstaged(missing)
        turned_up = [key for key in missing if key not in still]
        for start in range(0, len(turned_up), BATCH):
            async with self.db.read() as conn:
                there = await staging.staged(conn, self.run.id, turned_up[start : start + BATCH])
            await self._replan({key: (user, observed) for key, (observed, user) in there.items()}, in_range)
        return still if whole and not self.swept.unnamed else set()

    async def _not_listed(self, missing: list[str]) -> set[str]:
        candidates: set[str] = set(missing)
        await self._drop_listed(candidates, 1)
        if candidates:
            await self.sweep.stage_pass(2)
            await self._drop_listed(candidates, 2)
        return candidates

    async def _drop_listed(self, candidates: set[str], number: int) -> None:
        keys = sorted(candidates)
        for start in range(0, len(keys), BATCH):
            async with self.db.read() as conn:
                candidates -= await staging.listed_ids(conn, self.run.id, number, keys[start : start + BATCH])

    async def _ask(self, missing: list[str], in_range: Collection[int]) -> set[str]:
        answers, _ = await gather_bounded(missing, self.work.reader.user)
        there = {key: (read.user, read.observed) for key, read in answers.items() if read.user}
        for user, observed in there.values():
            async with self.db.fenced(self.work.lease) as conn:
                await staging.stage_users(conn, self.run.id, [(user, observed)])
        if there:
            await self._replan(there, in_range)
        self.swept.bad |= {("user", key): read.bad.reason for key, read in answers.items() if read.bad}
        return {key for key, read in answers.items() if read.user is None and read.errcode == NOT_FOUND}

    async def _replan(self, there: Mapping[str, tuple[User, int]], in_range: Collection[int]) -> None:
        async with self.db.read() as conn:
            held = await stored_users(conn, self.work.source.id, set(there))
        changes: list[Change] = []
        for key, (user, observed) in there.items():
            changes += plan_user(held.get(key), user, observed, readable=self.readable, in_range=in_range)
        await self._add(changes, plans.PEOPLE)

    async def _add(self, changes: Iterable[Change], rank: int) -> None:
        rows = list(changes)
        for start in range(0, len(rows), 1000):
            async with self.db.fenced(self.work.lease) as conn:
                await plans.add(conn, self.run.id, rows[start : start + 1000], rank)
