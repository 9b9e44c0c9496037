"""What people and programs see: data on stdout, everything else on stderr."""

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.api.language import Language, negotiate
from app.api.texts import said
from app.errors import Refused, ServiceError

PIPED_WIDTH: Final = 500
LONGEST: Final = 60


def _console(*, stderr: bool) -> Console:
    """Without a terminal nothing is coloured, and lines are as long as they are."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PIPED_WIDTH
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


out: Final = _console(stderr=False)
err: Final = _console(stderr=True)


def language() -> Language:
    """The language of error texts and checks, as the locale of the terminal says (POSIX: LC_ALL, LC_MESSAGES, LANG)."""
    names = (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    locale = next((name for name in names if name), "")
    return negotiate(locale.partition(".")[0].replace("_", "-"))


def say(text: str) -> None:
    """A line for the person who waits, on stderr."""
    err.print(plain(text), soft_wrap=True)


def tell(text: str | Text) -> None:
    """A line of the result, on stdout."""
    out.print(plain(text) if isinstance(text, str) else text, soft_wrap=True)


def as_json(value: Any) -> None:
    """The result for a program."""
    given = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    sys.stdout.write(json.dumps(given, ensure_ascii=False, indent=2, default=_dumped) + "\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> None:
    """The result for people; numbers stand right."""
    shown = [list(row) for row in rows]
    grid = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(columns):
        numbers = all(isinstance(row[index], int) for row in shown) and bool(shown)
        grid.add_column(name, justify="right" if numbers else "left", overflow="fold")
    for row in shown:
        grid.add_row(*(value if isinstance(value, Text) else Text(cell(value)) for value in row))
    out.print(grid)


def cell(value: object) -> str:
    """A value in a table or a sentence."""
    if value is None or value == "" or value == []:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return plain(str(value))


def short(value: object) -> str:
    """A value before or after a change, as JSON, cut where it gets long."""
    text = plain(json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def plain(text: str) -> str:
    """`text` without characters that a terminal would obey: names come from other people."""
    return "".join(character if character.isprintable() or character == "\n" else "�" for character in text)


def complain(error: ServiceError) -> None:
    """An error in one line, what to do about it in the next."""
    texts = said(error.code, language(), error.params, error.message, error.hint)
    places = error.errors if isinstance(error, Refused) else ()
    say(f"Error: {texts.title if places else texts.detail} [{error.code}]")
    for each in places:
        say(f"  {each.pointer or '/'}: {each.message}")
    if error.upstream:
        say(f"  WeCom said: {error.upstream.errcode} {error.upstream.errmsg}")
    if isinstance(error, Refused) and "run_id" in error.extra:
        say(f"  run: {error.extra['run_id']}")
    if texts.hint:
        say(f"Hint: {texts.hint}")


def complain_of(record: Mapping[str, Any], prefix: str = "Error") -> None:
    """The error that a run or an event has recorded, as the API shows it."""
    say(f"{prefix}: {record['message']} [{record['code']}]")
    if upstream := record.get("upstream"):
        say(f"  WeCom said: {upstream['errcode']} {upstream['errmsg']}")
    if record.get("hint"):
        say(f"Hint: {record['hint']}")


def _dumped(value: object) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)
