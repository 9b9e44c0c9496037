"""The full sync: read everything page by page into staging, compare, plan, ask the guard, apply in small batches.

It may be killed anywhere: staged pages, planned changes and their marks are rows, and the next worker goes on.
"""

import time
from collections.abc import Collection, Iterable
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.directory import Change, Department, User, key_of
from app.core.guard import Policy, digest, judge
from app.core.plan import (
    cut_cycles,
    parents_first,
    plan_department,
    plan_gone_department,
    plan_gone_user,
    plan_rename,
    plan_unseen_department,
    plan_unseen_user,
    plan_user,
)
from app.core.ports import DepartmentsRead, Range, UsersPage
from app.store import plans, runs, staging
from app.store.changes import lock, recent_losses
from app.store.db import now
from app.store.directory import stored_departments, stored_users, unmanaged_counts
from app.store.evidence import pending_renames, settle
from app.store.runs import Run
from app.sync.apply import apply_plan
from app.sync.work import Work, gather_bounded, in_batches

RESUME_WITHIN: Final = timedelta(minutes=15)
ASK_ONE_BY_ONE: Final = 200
BATCH: Final = 500
WINDOW: Final = timedelta(hours=24)
NOT_FOUND: Final = 60111


class Cancelled(Exception):
    """An administrator asked to stop the run."""


class FullSync:
    """One full run of one source under its lease."""

    def __init__(self, work: Work, run: Run) -> None:
        self.work, self.run, self.db = work, run, work.db
        self.warnings: list[dict[str, Any]] = []
        self.range: Range | None = None
        self.readable: frozenset[str] = frozenset()
        self.incomplete = False  # a page could not be read or understood: nothing is absent then
        self.unnamed_bad = False
        self.bad_users: set[str] = set()
        self._told = 0.0
        self._calls_before = run.api_calls

    async def execute(self) -> None:
        """Carry the run to its end; raises ServiceError when it cannot, Cancelled when it should not."""
        if self.run.stage != "apply":
            await self._read()
            await self._plan()
            if await self._judge():
                return
        await self._apply()

    # --- reading ---------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        await self._progress("token", 0, 0, force=True)
        self.range = await self.work.reader.range()
        done = await self._resume(self.range)
        await self._progress("departments", 0, 0, force=True)
        if "departments" not in done:
            await self._stage_departments(await self.work.reader.departments(), first=True)
        await self._read_users(await self._staged_ids(), done)
        if self.range.lists_ids and "ids:1" not in done:
            await self._stage_pass(1)
        await self._read_again(done)
        after = await self.work.reader.range()
        if after.fingerprint != self.range.fingerprint:
            self._warn("range.changed", "The visible range changed while it was read; nobody is counted as gone.")
            self.range = replace(after, everything=False, lists_ids=False)
        self._explain_range(after)

    async def _resume(self, range_: Range) -> set[str]:
        """The pages that need not be read again; everything is read anew when the range changed or time went by."""
        run = self.run
        fresh = run.read_at is not None and now() - run.read_at < RESUME_WITHIN
        if fresh and run.sweep_from and run.fingerprint == range_.fingerprint:
            async with self.db.read() as conn:
                done = await staging.done_pages(conn, run.id)
            for note in done.values():
                self._note_bad((note or {}).get("bad", ()))
            return set(done)
        while await self._cleared():
            pass
        sweep_from = await self.db.observe()
        async with self.db.fenced(self.work.lease) as conn:
            await plans.discard(conn, run.id)
            await runs.save(conn, run.id, sweep_from=sweep_from, fingerprint=range_.fingerprint, read_at=now())
        self.run = replace(run, sweep_from=sweep_from, fingerprint=range_.fingerprint)
        return set()

    async def _cleared(self) -> bool:
        async with self.db.fenced(self.work.lease) as conn:
            return await staging.clear(conn, self.run.id)

    async def _stage_departments(self, read: DepartmentsRead, *, first: bool) -> None:
        departments, cut = self._without_cycles(read)
        if cut:  # two moves read at different moments: read both again
            read = await self.work.reader.departments()
            departments, cut = self._without_cycles(read)
        if cut:
            self._warn(
                "department.cycle", f"{len(cut)} departments were their own ancestors; they are kept at the top."
            )
        bad = [{"kind": item.kind, "key": item.key, "reason": item.reason} for item in read.bad]
        self._note_bad(bad)
        async with self.db.fenced(self.work.lease) as conn:
            await staging.stage_departments(conn, self.run.id, departments, read.observed)
            key = "departments" if first else "departments:2"
            await staging.stage_pages(conn, self.run.id, [(key, read.observed, {"bad": bad})])

    def _without_cycles(self, read: DepartmentsRead) -> tuple[list[Department], set[int]]:
        cut = cut_cycles({d.department_id: (d.parent_id, read.observed) for d in read.departments})
        return [replace(d, parent_id=None) if d.department_id in cut else d for d in read.departments], cut

    async def _staged_ids(self) -> set[int]:
        async with self.db.read() as conn:
            return set(await staging.staged_places(conn, self.run.id))

    async def _read_users(self, departments: Collection[int], done: Collection[str], prefix: str = "") -> None:
        """Stage the members of departments, following those that a tag brings into sight."""
        assert self.range is not None  # noqa: S101 - read first
        total, count, left = len(departments), 0, set(departments)
        seen = set(left)
        await self._progress("users", 0, total, force=True)
        skip = {key.removeprefix(prefix) for key in done if key.startswith(prefix)}
        while True:
            granted: set[int] = set()
            async for pages in in_batches(self.work.reader.users(left, range_=self.range, done=skip)):
                await self._stage_pages(pages, prefix)
                granted.update(*(page.granted_departments for page in pages))
                count += len(pages)
                await self._progress("users", min(count, total), total)
            left, seen = granted - seen, seen | granted
            if not left:
                return

    async def _stage_pages(self, pages: list[UsersPage], prefix: str) -> None:
        rows = []
        for page in pages:
            bad = [{"kind": item.kind, "key": item.key, "reason": item.reason} for item in page.bad]
            self._note_bad(bad)
            rows.append((prefix + page.key, page.observed, {"bad": bad, "gone_department": page.gone_department}))
        async with self.db.fenced(self.work.lease) as conn:
            read = [(user, page.observed) for page in pages for user in page.users]
            await staging.stage_users(conn, self.run.id, read)
            await staging.stage_pages(conn, self.run.id, rows)

    async def _stage_pass(self, number: int) -> None:
        async with self.db.fenced(self.work.lease) as conn:
            await staging.clear_ids(conn, self.run.id, number)
        observed = 0
        async for page in self.work.reader.ids():
            observed = page.observed
            async with self.db.fenced(self.work.lease) as conn:
                await staging.stage_ids(conn, self.run.id, number, (userid for userid, _ in page.pairs))
        async with self.db.fenced(self.work.lease) as conn:
            await staging.stage_pages(conn, self.run.id, [(f"ids:{number}", observed, None)])

    async def _read_again(self, done: Collection[str]) -> None:
        """The department list once more: new ones are read too, and one that could not be read must be gone from it."""
        first = await self._staged_ids()
        await self._stage_departments(await self.work.reader.departments(), first=False)
        last = await self._staged_ids()
        async with self.db.read() as conn:
            notes = await staging.done_pages(conn, self.run.id)
        vanished = {note["gone_department"] for note in notes.values() if note and note.get("gone_department")}
        back = vanished & last
        unread = (last - first) | back
        if unread:
            await self._read_users(unread, done, prefix="again:")
        async with self.db.read() as conn:
            notes = await staging.done_pages(conn, self.run.id)
        asked = [note for key, note in notes.items() if note and key.startswith("again:")]
        refused = {note["gone_department"] for note in asked if note.get("gone_department")}
        if refused & last:
            self.incomplete = True
            self._warn("department.unreadable", f"The members of {len(refused & last)} departments could not be read.")

    # --- planning --------------------------------------------------------------------------------------------------

    async def _plan(self) -> None:
        await self._progress("plan", 0, 0, force=True)
        at, swept = now(), await self.db.observe()
        async with self.db.fenced(self.work.lease) as conn:
            await lock(conn, self.work.source.id)
            await plans.discard(conn, self.run.id)
            self.readable = frozenset(await staging.readable(conn, self.run.id))
            if not self.run.dry_run:
                await self.work.sources.record(conn, self.work.source.id, swept=swept, swept_at=at)
            for item in sorted(self.bad_users):
                await plans.fail(conn, self.run.id, "user", item, "unreadable_record")
        gone = await self._plan_departments(at)
        async with self.db.read() as conn:
            places = await staging.staged_places(conn, self.run.id)
            renames = await pending_renames(conn, self.work.source.id)
        in_range = set(places) | gone
        renamed = await self._plan_users(in_range, renames)
        await self._plan_absent(at, in_range, renamed)

    async def _plan_departments(self, at: datetime) -> set[int]:
        """Plan the departments; returns those proven gone."""
        source_id = self.work.source.id
        async with self.db.read() as conn:
            found = await staging.differing_departments(conn, self.run.id, source_id)
            differing = {department.department_id: (department, observed) for department, observed in found}
            missing = await staging.missing_departments(conn, self.run.id, source_id)
            held = await stored_departments(conn, source_id, {*differing, *missing})
        changes: list[Change] = []
        for department in parents_first(pair[0] for pair in differing.values()):
            number = department.department_id
            changes += plan_department(held.get(number), department, differing[number][1])
        gone, removals = await self._gone_departments(missing), list[Change]()
        depth = {d.department_id: i for i, d in enumerate(parents_first(item.value for item in held.values()))}
        for number in sorted(missing, key=lambda item: -depth[item]):
            if number in gone:
                removals += plan_gone_department(held[number], self.run.sweep_from)
            else:
                changes += plan_unseen_department(held[number], self.run.sweep_from, at)
        await self._add(changes, plans.DEPARTMENTS)
        await self._add(removals, plans.REMOVALS)
        return gone

    async def _gone_departments(self, missing: Collection[int]) -> set[int]:
        assert self.range is not None  # noqa: S101 - read first
        if not missing or not (self.range.lists_ids or self.range.everything):
            return set()
        if not self.range.lists_ids:
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
            if not page:
                return renamed
            changes: list[Change] = []
            for key, observed, user in page:
                old = await self._renamed_from(key, renames) if key in renames and key not in held else None
                if old is not None:
                    renamed.add(old.value.key)
                    changes += plan_rename(old, None, user, observed, readable=self.readable, in_range=in_range)
                else:
                    changes += plan_user(held.get(key), user, observed, readable=self.readable, in_range=in_range)
            await self._add(changes, plans.PEOPLE)
            after = page[-1][0]
            await self._progress("plan", 0, 0)

    async def _renamed_from(self, key: str, renames: dict[str, tuple[str, int]]) -> Any:
        old = renames[key][0]
        async with self.db.read() as conn:
            held = (await stored_users(conn, self.work.source.id, {old})).get(old)
            absent = old in await staging.unstaged(conn, self.run.id, {old})
        if held is None or not absent:
            return None
        read = await self.work.reader.user(held.value.userid)
        return held if read.user is None and read.bad is None else None

    async def _plan_absent(self, at: datetime, in_range: Collection[int], renamed: Collection[str]) -> None:
        missing = [key for key in await self._missing() if key not in renamed and key not in self.bad_users]
        if not missing:
            return
        gone = set() if self.incomplete or self.unnamed_bad else await self._gone_users(missing, in_range)
        still = await self._unstaged(missing)
        for start in range(0, len(missing), BATCH):
            keys = [key for key in missing[start : start + BATCH] if key in still]
            async with self.db.read() as conn:
                held = await stored_users(conn, self.work.source.id, keys)
            leavers = [c for k, item in held.items() if k in gone for c in plan_gone_user(item, self.run.sweep_from)]
            unseen = [
                c for k, item in held.items() if k not in gone for c in plan_unseen_user(item, self.run.sweep_from, at)
            ]
            await self._add(leavers, plans.LEAVERS)
            await self._add([] if self.incomplete else unseen, plans.PEOPLE)

    async def _missing(self) -> list[str]:
        keys: list[str] = []
        while True:
            async with self.db.read() as conn:
                page = await staging.missing_users(
                    conn,
                    self.run.id,
                    self.work.source.id,
                    before=self.run.sweep_from,
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
        assert self.range is not None  # noqa: S101 - read first
        if self.range.lists_ids:
            return await self._not_listed(missing)
        if not self.range.everything:
            return set()
        if len(missing) > ASK_ONE_BY_ONE:
            await self._read_users(await self._staged_ids(), (), prefix="second:")
            still = await self._unstaged(missing)
            await self._plan_users(in_range, {})
            return set() if self.incomplete or self.unnamed_bad else still
        return await self._ask(missing, in_range)

    async def _not_listed(self, missing: list[str]) -> set[str]:
        candidates: set[str] = set(missing)
        await self._drop_listed(candidates, 1)
        if candidates:
            await self._stage_pass(2)
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
        return {key for key, read in answers.items() if read.user is None and read.errcode == NOT_FOUND}

    async def _replan(self, there: dict[str, tuple[User, int]], in_range: Collection[int]) -> None:
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

    # --- judging and applying --------------------------------------------------------------------------------------

    async def _judge(self) -> bool:
        """Withhold what exceeds the limits; True when the run ends here because it is a dry run."""
        run, source = self.run, self.work.source
        async with self.db.fenced(self.work.lease) as conn:
            approved = await self._within_ceiling(conn)
            recent = await recent_losses(conn, source.id, now() - WINDOW)
            losses = await plans.losses(conn, run.id, source.id, recent)
            trips = [] if approved else judge(losses, Policy.of(source.guard))
            if not approved and run.approved and not trips:
                trips = judge(losses, Policy.of({"max_percent": 0, "max_count": 0, "floor": 0}))
            for trip in trips:
                self._warn("guard.would_trip" if run.dry_run else "guard.tripped", trip.message)
            if trips and not run.dry_run:
                await plans.withhold(conn, run.id, trips)
            states = ("planned",) if run.dry_run else ("withheld",)
            if self.range is not None and not run.dry_run:
                facts = {"range": asdict(self.range), "readable": sorted(self.readable)}
                await self.work.sources.record(conn, source.id, **facts)
            value = digest(await plans.marks(conn, run.id, states))
            total = await plans.total(conn, run.id, "planned")
            stage = {"stage": "plan" if run.dry_run else "apply", "done": 0, "total": total}
            await runs.save(conn, run.id, digest=value, warnings=self.warnings, **stage)
        if run.dry_run:
            await self._finish()
        return run.dry_run

    async def _within_ceiling(self, conn: AsyncConnection) -> bool:
        if not self.run.approved or not self.run.approval:
            return False
        ceiling = {tuple(mark) for mark in self.run.approval["ceiling"]}
        return await plans.marks(conn, self.run.id, ("planned",)) <= ceiling

    async def _apply(self) -> None:
        async def told(done: int, total: int) -> None:
            await self._progress("apply", done, total)

        await apply_plan(self.work, self.run, told)
        await self._finish()

    async def _finish(self) -> None:
        run, source = self.run, self.work.source
        async with self.db.fenced(self.work.lease) as conn:
            await lock(conn, source.id)
            state = await self._outcome(conn)
            if not run.dry_run:
                if not self.incomplete:
                    await settle(conn, source.id, run.id, at=now())
                if state == "awaiting_approval":
                    await runs.open_approval(conn, source.id, run.id)
                else:
                    await runs.supersede_approval(conn, source.id)
            seen = await staging.staged_counts(conn, run.id)
            counts = await plans.counts(conn, run.id, seen, await unmanaged_counts(conn, source.id))
            ended = None if state == "awaiting_approval" else now()
            calls = self._calls_before + self.work.reader.calls
            await runs.save(conn, run.id, state=state, counts=counts, finished_at=ended, api_calls=calls)

    async def _outcome(self, conn: AsyncConnection) -> str:
        if not self.run.dry_run and await plans.any_in(conn, self.run.id, "withheld"):
            return "awaiting_approval"
        failed = self.incomplete or await plans.any_in(conn, self.run.id, "failed")
        return "partial" if failed else "succeeded"

    # --- telling ---------------------------------------------------------------------------------------------------

    async def _progress(self, stage: str, done: int, total: int, *, force: bool = False) -> None:
        """Write how far the run is, at most three times a second; raises Cancelled when that was asked for."""
        if not force and time.monotonic() - self._told < 0.3:
            return
        self._told = time.monotonic()
        calls = self._calls_before + self.work.reader.calls
        async with self.db.fenced(self.work.lease) as conn:
            cancelled = await runs.save(
                conn, self.run.id, stage=stage, done=done, total=total, read_at=now(), api_calls=calls
            )
        if cancelled:
            raise Cancelled

    def _warn(self, code: str, message: str) -> None:
        if all(warning["code"] != code or warning["message"] != message for warning in self.warnings):
            self.warnings.append({"code": code, "message": message})

    def _note_bad(self, bad: Iterable[dict[str, Any]]) -> None:
        for item in bad:
            if item["kind"] == "user" and item["key"]:
                self.bad_users.add(key_of(item["key"]))
            elif item["kind"] == "user":
                self.unnamed_bad = True
                self._warn("user.unnamed", "A record without a userid was skipped; nobody is counted as gone.")
            else:
                self.incomplete = True
                self._warn("department.bad_record", f"A department record was skipped: {item['reason']}")

    def _explain_range(self, range_: Range) -> None:
        if not range_.details:
            self._warn("details.unreadable", "Only ids can be read: the contacts secret may not read details.")
        elif not range_.everything and not range_.lists_ids:
            self._warn("range.partial", "The app does not see the root department: people outside it are not read.")
