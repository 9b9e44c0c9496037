import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog

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


@pytest.fixture
def logging_untouched() -> Iterator[None]:
    """What a test sets up of logging ends with it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in ("app", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    logging.getLogger("uvicorn.access").disabled = False
    structlog.reset_defaults()
