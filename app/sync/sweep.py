"""Reading a whole source, page by page, into staging; a killed run goes on at its page."""

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

from app.core.directory import Department, key_of
from app.core.plan import cut_cycles
from app.core.ports import BadRecord, DepartmentsRead, Range, UsersPage
from app.store import plans, runs, staging
from app.store.db import now
from app.store.runs import Run
from app.sync.report import Report
from app.sync.work import Work, in_batches

RESUME_WITHIN: Final = timedelta(minutes=15)


@dataclass(slots=True)
class Swept:
    """What a sweep saw, besides the staged rows. `since` is the observation number before its first read.

    `bad` are the objects that could not be read or understood, with the reason, by (kind, key): people under the
    compared form of their userid. `unnamed`: a record had no userid, so nobody is gone.
    """

    range: Range
    since: int = 0
    unnamed: bool = False
    bad: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def incomplete(self) -> bool:
        """A department could not be read or understood: nothing that was not seen is absent."""
        return any(kind == "department" for kind, _ in self.bad)


class Sweep:
    """The reading of one full run."""

    def __init__(self, work: Work, run: Run, report: Report) -> None:
        self.work, self.run, self.db, self.report = work, run, work.db, report
        self.swept: Swept

    async def read(self) -> Swept:
        """Read everything; the range is read before and after, and nobody is counted as gone when it changed."""
        await self.report.progress("token", force=True)
        self.swept = Swept(await self.work.reader.range())
        done = await self._resume(self.swept.range)
        self.swept.since = self.run.sweep_from
        await self.report.progress("departments", force=True)
        if "departments" not in done:
            await self._stage_departments(await self.work.reader.departments(), first=True)
        await self.read_users(await self.staged_ids(), done)
        if self.swept.range.lists_ids and "ids:1" not in done:
            await self.stage_pass(1)
        await self._read_again(done)
        after = await self.work.reader.range()
        if not self._is_same(after):
            self.swept.range = replace(after, everything=False, lists_ids=False)
        self._explain_range(after)
        return self.swept

    async def _resume(self, range_: Range) -> set[str]:
        """The pages that need not be read again; everything is read anew when the range changed or time went by."""
        run = self.run
        fresh = run.read_at is not None and now() - run.read_at < RESUME_WITHIN
        if fresh and run.sweep_from and run.fingerprint == range_.fingerprint:
            async with self.db.read() as conn:
                done = await staging.done_pages(conn, run.id)
            for key, note in done.items():
                bad = [BadRecord(**item) for item in (note or {}).get("bad", ())]
                self._note(bad, key.removeprefix("again:").removeprefix("second:"))
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
            self.report.warn(
                "department.cycle", f"{len(cut)} departments were their own ancestors; they are kept at the top."
            )
        bad = self._note(read.bad)
        async with self.db.fenced(self.work.lease) as conn:
            await staging.stage_departments(conn, self.run.id, departments, read.observed)
            key = "departments" if first else "departments:2"
            await staging.stage_pages(conn, self.run.id, [(key, read.observed, {"bad": bad})])

    def _without_cycles(self, read: DepartmentsRead) -> tuple[list[Department], set[int]]:
        cut = cut_cycles({d.department_id: (d.parent_id, read.observed) for d in read.departments})
        return [replace(d, parent_id=None) if d.department_id in cut else d for d in read.departments], cut

    async def staged_ids(self) -> set[int]:
        """The departments of the last complete list."""
        async with self.db.read() as conn:
            return set(await staging.staged_places(conn, self.run.id))

    async def read_users(self, departments: Collection[int], done: Collection[str] = (), *, prefix: str = "") -> None:
        """Stage the members of departments, following those that a tag brings into sight."""
        total, count, left = len(departments), 0, set(departments)
        seen = set(left)
        await self.report.progress("users", 0, total, force=True)
        skip = {key.removeprefix(prefix) for key in done if key.startswith(prefix)}
        while True:
            granted: set[int] = set()
            async for pages in in_batches(self.work.reader.users(left, range_=self.swept.range, done=skip)):
                await self._stage_pages(pages, prefix)
                granted.update(*(page.granted_departments for page in pages))
                count += len(pages)
                await self.report.progress("users", min(count, total), total)
            left, seen = granted - seen, seen | granted
            if not left:
                return

    async def _stage_pages(self, pages: list[UsersPage], prefix: str) -> None:
        rows = []
        for page in pages:
            note = {"bad": self._note(page.bad, page.key), "gone_department": page.gone_department}
            rows.append((prefix + page.key, page.observed, note))
        async with self.db.fenced(self.work.lease) as conn:
            read = [(user, page.observed) for page in pages for user in page.users]
            await staging.stage_users(conn, self.run.id, read)
            await staging.stage_pages(conn, self.run.id, rows)

    async def stage_pass(self, number: int) -> None:
        """Stage a complete pass of user/list_id."""
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
        first = await self.staged_ids()
        await self._stage_departments(await self.work.reader.departments(), first=False)
        last = await self.staged_ids()
        async with self.db.read() as conn:
            notes = await staging.done_pages(conn, self.run.id)
        vanished = {note["gone_department"] for note in notes.values() if note and note.get("gone_department")}
        back = vanished & last
        unread = (last - first) | back
        if unread:
            await self.read_users(unread, done, prefix="again:")
        async with self.db.read() as conn:
            notes = await staging.done_pages(conn, self.run.id)
        asked = [note for key, note in notes.items() if note and key.startswith("again:")]
        refused = {note["gone_department"] for note in asked if note.get("gone_department")}
        for number in sorted(refused & last):
            self.swept.bad["department", str(number)] = "members_unreadable"
        if refused & last:
            self.report.warn(
                "department.unreadable", f"The members of {len(refused & last)} departments could not be read."
            )

    async def read_users_again(self) -> bool:
        """A second reading of everybody; whether it missed no department and what could be seen stayed the same."""
        before = await self.work.reader.departments()
        numbers = {department.department_id for department in before.departments}
        await self.read_users(numbers, prefix="second:")
        after = await self.work.reader.departments()
        left = {department.department_id for department in after.departments}
        async with self.db.read() as conn:
            notes = await staging.done_pages(conn, self.run.id)
        asked = [note for key, note in notes.items() if note and key.startswith("second:")]
        refused = {note["gone_department"] for note in asked if note.get("gone_department")}
        whole = not before.bad and not after.bad and not refused & left and left <= numbers
        return whole and await self.same_range()

    async def same_range(self) -> bool:
        """Whether what can be seen is still what could be seen when the sweep began; a warning if not."""
        return self._is_same(await self.work.reader.range())

    def _is_same(self, range_: Range) -> bool:
        same = range_.fingerprint == self.swept.range.fingerprint
        if not same:
            self.report.warn("range.changed", "The visible range changed while it was read; nobody is counted as gone.")
        return same

    def _note(self, bad: Iterable[BadRecord], page: str = "") -> list[dict[str, Any]]:
        """Keep what could not be understood; gives it in the form in which a page is staged."""
        for item in bad:
            self.swept.bad[item.kind, key_of(item.key)] = item.reason
            if item.kind == "department":
                self.report.warn("department.bad_record", f"A department record was skipped: {item.reason}")
            elif item.key.startswith(f"{page}#"):
                self.swept.unnamed = True
                self.report.warn("user.unnamed", "A record without a userid was skipped; nobody is counted as gone.")
        return [asdict(item) for item in bad]

    def _explain_range(self, range_: Range) -> None:
        if not range_.details:
            self.report.warn("details.unreadable", "Only ids can be read: the contacts secret may not read details.")
        elif not range_.everything and not range_.lists_ids:
            self.report.warn(
                "range.partial", "The app does not see the root department: people outside it are not read."
            )
