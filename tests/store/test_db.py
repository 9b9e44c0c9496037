from app.store.db import Database


async def test_open(database: Database) -> None:
    assert await database.observe() < await database.observe()
