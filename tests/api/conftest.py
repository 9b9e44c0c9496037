from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.harness import Api, serving, settings


@pytest.fixture
async def api(database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """The service without a worker, on each database."""
    async with serving(settings(database_url, tmp_path)) as running:
        yield running


@pytest.fixture
async def light(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """The service on SQLite, for what no database has a part in."""
    async with serving(settings(sqlite_url, tmp_path)) as running:
        yield running
