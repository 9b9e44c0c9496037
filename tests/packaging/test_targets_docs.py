"""What docs/targets.md says of codes, settings, types, calls and figures is there."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from app.api import metrics
from app.api.schemas.targets import TargetState
from app.api.schemas.webhooks import DepartmentEvent, PingEvent, RunEvent, TargetEvent, UserEvent
from app.api.texts import TEXTS
from app.main import document
from app.sync.deliver import GIVEN_UP_AFTER, PAUSES
from app.targets.kinds import KINDS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/targets.md").read_text()


def rows(heading: str) -> set[str]:
    """The first column's names of the tables below a heading of the page."""
    part = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return {
        name for cells in re.findall(r"^\| (`.*?) \|", part, re.MULTILINE) for name in re.findall(r"`(.*?)`", cells)
    }


@pytest.mark.parametrize(("kind", "heading"), [("nocobase", "NocoBase"), ("webhook", "Webhooks")])
def test_every_setting_of_a_kind_is_explained(kind: str, heading: str) -> None:
    named = rows(heading)
    assert set(KINDS[kind].config.model_fields) <= named
    assert not {name for name in named if "." not in name} - set(KINDS[kind].config.model_fields) - {"config", "ping"}


def test_every_type_of_event_is_explained() -> None:
    models = (UserEvent, DepartmentEvent, RunEvent, TargetEvent, PingEvent)
    types = {kind for model in models for kind in get_args(model.model_fields["type"].annotation)}
    assert {name for name in rows("Webhooks") if "." in name or name == "ping"} == types


def test_every_state_is_explained() -> None:
    assert rows("How it goes") - {"state"} == set(get_args(TargetState))


def test_every_code_that_is_named_exists() -> None:
    known = set(TEXTS) | {code for kind in KINDS.values() for code in kind.texts}
    named = rows("When something is wrong")
    assert len(named) > 10
    assert named <= known


def test_every_call_that_is_named_exists() -> None:
    paths = document()["paths"]
    named = [*re.findall(r"`(GET|POST|PATCH) (/[\w/{}.]+)", PAGE), ("POST", "/targets")]
    assert len(named) >= 8
    for method, path in named:
        ours = [re.sub(r"{\w+}", "{id}", each) for each in paths if method.lower() in paths[each]]
        assert f"/api/v1{path}" in ours, path


def test_the_bodies_that_are_sent_are_valid() -> None:
    bodies = re.findall(r"-d '(\{.*?\})'", PAGE, re.DOTALL)
    assert len(bodies) == 2
    for text in bodies:
        body: dict[str, Any] = json.loads(text)
        assert KINDS[body["kind"]].config.model_validate(body["config"])


def test_every_figure_that_is_named_exists() -> None:
    named = set(re.findall(r"`wecom_sync_(\w+)`", PAGE))
    assert named
    source = Path(metrics.__file__).read_text()
    assert [name for name in named if f'"{name}"' not in source] == []


def test_the_times_are_the_ones_of_the_program() -> None:
    assert PAUSES == (5, 30, 120, 600, 3600, 3600, 3600)
    assert GIVEN_UP_AFTER.days == 3
