"""A run on the screen while it goes on."""

from types import TracebackType
from typing import Final, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from app.cli.screen import err, say

LABELS: Final = {
    "token": "Signing in",
    "departments": "Departments",
    "users": "People",
    "plan": "Planning",
    "apply": "Writing",
}


class Watch:
    """A progress bar on stderr; without a terminal, a line whenever the run comes to another stage."""

    def __init__(self) -> None:
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<11}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=err,
            disable=not err.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("Waiting", total=None)
        self._label = "Waiting"

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, stage: str | None, done: int, total: int) -> None:
        """Bring the screen up to date; `total` 0 is not known yet."""
        label = LABELS.get(stage or "", "Waiting")
        if label != self._label and stage and not err.is_terminal:
            say(f"{label} …")
        self._label = label
        self._bar.update(self._task, description=label, completed=done, total=total or None)
