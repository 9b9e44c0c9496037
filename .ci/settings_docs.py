"""Writes what people read about the settings from the Settings class: .env.example and the tables of the READMEs.

With `--check` it writes nothing and fails when a page says something else than the class.
"""

import sys
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from settings_texts import TEXTS

from app.settings import PREFIX, Settings

BEGIN, END = "<!-- settings: begin -->", "<!-- settings: end -->"

HEAD = """\
# The settings of WeCom Sync. Copy this file to .env, and take the # away before the lines that you change;
# a line that stays as it is shows the default. The environment wins over this file.
"""


def default_of(field: FieldInfo) -> str:
    """The default as one would write it in the environment; nothing when it is made on first start or derived."""
    default = field.default
    if default is None:
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    return f"./{default}" if isinstance(default, Path) and not default.is_absolute() else str(default)


def allowed(field: FieldInfo) -> list[str]:
    """The values that a setting may have, where they are few."""
    if get_origin(field.annotation) is Literal:
        return [str(value) for value in get_args(field.annotation)]
    return ["true", "false"] if field.annotation is bool else []


def env_example() -> str:
    """The whole of .env.example."""
    parts = [HEAD]
    for name, field in Settings.model_fields.items():
        choice = f" One of {', '.join(allowed(field))}." if allowed(field) else ""
        parts.append(f"# {field.description}{choice}\n#{PREFIX}{name.upper()}={default_of(field)}\n")
    return "\n".join(parts)


def table(language: str) -> str:
    """The settings as a Markdown table; raises KeyError for a text that is not translated."""
    texts = TEXTS.get(language, {})

    def said(text: str) -> str:
        return texts[text] if texts else text

    lines = [said("| Setting | Default | Meaning |"), "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = f"`{default_of(field)}`" if default_of(field) else ""
        values = ", ".join(f"`{value}`" for value in allowed(field))
        choice = said(" One of {}.").format(values) if values else ""
        lines.append(f"| `{PREFIX}{name.upper()}` | {default} | {said(str(field.description))}{choice} |")
    return "\n".join(lines)


def with_table(page: str, language: str) -> str:
    """A README with its settings table renewed; raises ValueError when it has no place for one."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{BEGIN} and {END} must both be in the page")
    return f"{before}{BEGIN}\n{table(language)}\n{END}{after}"


def main(folder: Path, check: bool) -> int:
    pages = {folder / ".env.example": env_example()}
    for page in sorted(folder.glob("README*.md")):
        language = page.name.removeprefix("README").removesuffix("md").strip(".")
        pages[page] = with_table(page.read_text(), language)
    stale = [page for page, text in pages.items() if not page.is_file() or page.read_text() != text]
    for page in stale:
        sys.stderr.write(f"{page.name} {'is out of step with app/settings.py: make docs' if check else 'written'}\n")
        if not check:
            page.write_text(pages[page])
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(Path(__file__).parents[1], "--check" in sys.argv[1:]))
