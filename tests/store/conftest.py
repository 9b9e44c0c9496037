from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import event as sa_event
from sqlalchemy.engine import Engine

from app.core.event import Event
from app.store.db import Database
from app.store.keys import Sealer
from app.store.sources import Source, Sources

CONFIG = {"corp_id": "ww1436e0e65a779aee", "agent_id": 1000002, "base_url": "https://qyapi.weixin.qq.com"}
MakeEvent = Callable[..., Event]


@pytest.fixture
def sealer() -> Sealer:
    return Sealer([Fernet.generate_key().decode()])


@pytest.fixture
def sources(sealer: Sealer) -> Sources:
    return Sources(sealer)


@pytest.fixture
async def source(database: Database, sources: Sources) -> Source:
    async with database.write() as conn:
        return await sources.create(
            conn, name="Head office", kind="wecom", config=CONFIG, secrets={"app_secret": "app-secret-canary"}
        )


@pytest.fixture
def make_event() -> MakeEvent:
    """Events whose digests differ when their words do."""

    def make(digest: str = "d1", key: str = "lisi", kind: str = "user", **values: object) -> Event:
        given = {"change_type": "update_user", "created": 1_700_000_000, "payload": f"<xml>{digest}</xml>"}
        return Event(kind=kind, key=key, digest=digest, **given | values)

    return make


@contextmanager
def counted_commits() -> Iterator[list[int]]:
    """Every commit on any connection while this is open."""
    commits: list[int] = []

    def commit(_connection: object) -> None:
        commits.append(1)

    sa_event.listen(Engine, "commit", commit)
    try:
        yield commits
    finally:
        sa_event.remove(Engine, "commit", commit)
