"""The page about the simulator: its example runs, its tables name what there is."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.simulator import DeliverySettings, SimulatorSettings, create_simulator
from app.simulator.api import ENDPOINTS
from app.simulator.control import MUTATIONS

ROOT = Path(__file__).parents[2]
PAGE = ROOT.joinpath("docs/simulator.md").read_text(encoding="utf-8")


def test_the_example_runs():
    [example] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, timeout=60, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_table_of_the_control_api_is_complete(company):
    mount = next(route for route in create_simulator(company).routes if route.path == "/control")
    there = {(method, f"/control{route.path}") for route in mount.routes for method in route.methods - {"HEAD"}}
    assert set(re.findall(r"^\| `(\w+) (/control/\w+)`", PAGE, re.MULTILINE)) == there


@pytest.mark.parametrize(
    "names",
    [
        [one.name for one in dataclasses.fields(SimulatorSettings)],
        [one.name for one in dataclasses.fields(DeliverySettings)],
        ["gettoken", *ENDPOINTS],
        MUTATIONS,
    ],
)
def test_every_setting_endpoint_and_action_is_named(names):
    missing = [name for name in names if f"`{name}`" not in PAGE]
    assert missing in ([], ["log_size"])
