"""Access tokens and breakers, shared by processes and kept over a restart."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from app.core.ports import Token, TokenStore
from app.store import tokens as tokens_module
from app.store.db import Database, now
from app.store.keys import Sealer
from app.store.tokens import Tokens, table
from tests.conftest import OpenDatabase

REFUSAL = {"code": "wecom.wrong_secret", "message": "the secret is wrong", "hint": "", "upstream": {"errcode": 40001}}


@pytest.fixture
def tokens(database: Database, sealer: Sealer) -> Tokens:
    return Tokens(database, sealer, "a")


def token(value: str, seconds: float = 7200) -> Token:
    return Token(value, now() + timedelta(seconds=seconds))


async def test_a_token_is_shared_and_sealed(database: Database, sealer: Sealer, tokens: TokenStore) -> None:
    stored = token("token-canary")
    assert await tokens.get("c") is None
    await tokens.put("c", stored)
    assert await tokens.get("c") == stored
    assert await Tokens(database, sealer, "b").get("c") == stored
    async with database.read() as conn:
        assert b"canary" not in await conn.scalar(select(table.c.token))


async def test_a_token_that_has_ended_is_none(tokens: Tokens) -> None:
    await tokens.put("c", token("old", seconds=-1))
    assert await tokens.get("c") is None


async def test_only_the_token_that_was_refused_is_dropped(tokens: Tokens) -> None:
    await tokens.put("c", token("new"))
    await tokens.drop("c", "old")
    kept = await tokens.get("c")
    assert kept is not None
    assert kept.value == "new"
    await tokens.drop("c", "new")
    assert await tokens.get("c") is None
    await tokens.drop("unknown", "x")


async def test_a_broken_credential_stays_broken_over_a_restart(
    database_url: str, open_database: OpenDatabase, sealer: Sealer
) -> None:
    database = await open_database(database_url)
    tokens = Tokens(database, sealer, "a")
    await tokens.put("c", token("t"))
    assert await tokens.broken("c") is None
    await tokens.break_("c", REFUSAL)
    assert await tokens.get("c") is None
    await database.close()
    restarted = Tokens(await open_database(database_url), sealer, "b")
    assert await restarted.broken("c") == REFUSAL
    assert await restarted.broken("other") is None
    await restarted.mend("c")
    assert await restarted.broken("c") is None


async def test_another_process_hears_of_a_breaker_soon(
    database: Database, sealer: Sealer, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await tokens.broken("c") is None
    await Tokens(database, sealer, "b").break_("c", REFUSAL)
    passed = tokens_module.time.monotonic() + tokens_module.FRESH_SECONDS
    monkeypatch.setattr(tokens_module.time, "monotonic", lambda: passed)
    assert await tokens.broken("c") == REFUSAL


async def test_one_worker_of_one_process_fetches(tokens: Tokens) -> None:
    fetched: list[int] = []

    async def use(number: int) -> str:
        async with tokens.refreshing("c"):
            if (found := await tokens.get("c")) is None:
                fetched.append(number)
                await asyncio.sleep(0)
                found = token(f"t{number}")
                await tokens.put("c", found)
            return found.value

    values = await asyncio.gather(*(use(number) for number in range(10)))
    assert len(fetched) == 1
    assert len(set(values)) == 1


async def test_one_worker_of_several_processes_fetches(database: Database, sealer: Sealer) -> None:
    fetched: list[str] = []

    async def use(owner: str) -> None:
        tokens = Tokens(database, sealer, owner)
        async with tokens.refreshing("c"):
            if await tokens.get("c") is None:
                fetched.append(owner)
                await asyncio.sleep(0)
                await tokens.put("c", token(f"of-{owner}"))

    await asyncio.gather(*(use(owner) for owner in "abcd"))
    assert len(fetched) == 1


async def test_a_process_that_died_while_fetching_is_not_waited_for_forever(
    database: Database, sealer: Sealer, tokens: Tokens
) -> None:
    dead = Tokens(database, sealer, "dead")
    await dead.refreshing("c").__aenter__()
    async with database.write() as conn:
        await conn.execute(update(table).values(refreshing_until=now() - timedelta(seconds=1)))
    async with asyncio.timeout(5), tokens.refreshing("c"):
        await tokens.put("c", token("t"))
    assert await tokens.get("c") is not None


async def test_an_error_while_fetching_lets_the_next_one_try(tokens: Tokens) -> None:
    with pytest.raises(KeyError):
        async with tokens.refreshing("c"):
            raise KeyError
    async with asyncio.timeout(5), tokens.refreshing("c"):
        await tokens.put("c", token("t"))


async def test_different_credentials_do_not_wait_for_each_other(tokens: Tokens) -> None:
    async with asyncio.timeout(5), tokens.refreshing("c"), tokens.refreshing("d"):
        await tokens.put("d", token("t"))
    assert await tokens.get("c") is None
