"""What people read about the settings agrees with the Settings class."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import PREFIX, Settings, load

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / ".env.example").read_text()
SETTINGS_TABLE = re.compile(r"<!-- settings: begin -->\n(.*)<!-- settings: end -->", re.DOTALL)


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)


def test_the_pages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ".ci/settings_docs.py", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_env_example_names_every_setting_once() -> None:
    names = re.findall(rf"^#{PREFIX}(\w+)=", EXAMPLE, re.MULTILINE)
    assert names == [name.upper() for name in Settings.model_fields]


def test_every_line_of_env_example_shows_the_default(tmp_path: Path) -> None:
    everything = tmp_path / ".env"
    everything.write_text(re.sub(rf"^#({PREFIX})", r"\1", EXAMPLE, flags=re.MULTILINE))
    assert load(everything) == Settings()


def test_env_example_as_it_is_changes_nothing() -> None:
    assert load(ROOT / ".env.example") == Settings()


@pytest.mark.parametrize("page", sorted(ROOT.glob("README*.md")), ids=lambda page: page.name)
def test_every_readme_has_the_whole_table(page: Path) -> None:
    found = SETTINGS_TABLE.search(page.read_text())
    assert found
    rows = re.findall(rf"^\| `{PREFIX}(\w+)` \|", found[1], re.MULTILINE)
    assert rows == [name.upper() for name in Settings.model_fields]
