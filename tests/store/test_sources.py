"""Sources: sealed secrets, versions, and who is behind a callback URL."""

from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import insert, make_url

from app.core.ports import CallbackPair
from app.errors import AskAdmin, Refused
from app.store import sources as sources_module
from app.store.bulk import table_of
from app.store.db import Database, now
from app.store.keys import Sealer
from app.store.sources import Source, Sources
from app.store.tables import UserRow
from tests.conftest import OpenDatabase
from tests.store.conftest import CONFIG

CORP = str(CONFIG["corp_id"])


def pair(name: str) -> CallbackPair:
    return CallbackPair(f"token{name}", name * 43, CORP)


async def patched(
    database: Database, sources: Sources, source: Source, changes: object, version: int | None = None
) -> Source:
    async with database.write() as conn:
        return await sources.patch(conn, source.id, changes, version=version)


async def receiver_pairs(database: Database, sources: Sources, source: Source) -> list[str]:
    receiver = await sources.by_callback_key(database, source.callback_key)
    return [pair.token for pair in receiver.pairs] if receiver else []


async def test_a_source_is_kept_without_its_secrets_in_sight(
    database: Database, sources: Sources, source: Source
) -> None:
    assert (source.name, source.kind, source.enabled, source.version) == ("Head office", "wecom", True, 1)
    assert source.config == CONFIG
    assert source.corp_id == CORP
    assert source.secrets_set == {"app_secret"}
    assert "canary" not in repr(source)
    async with database.read() as conn:
        assert await sources.get(conn, source.id) == source
        assert await sources.list(conn) == [source]
        assert await sources.secrets(conn, source.id) == {"app_secret": "app-secret-canary"}
        assert await sources.revealed(conn, source.id) == CONFIG | {"app_secret": "app-secret-canary"}


async def test_secrets_cannot_be_read_in_the_files(
    sqlite_url: str, open_database: OpenDatabase, sources: Sources
) -> None:
    database = await open_database(sqlite_url)
    async with database.write() as conn:
        await sources.create(conn, name="readable-name", kind="wecom", config=CONFIG, secrets={"token": "canary"})
    await database.close()
    path = make_url(sqlite_url).database or ""
    written = b"".join(file.read_bytes() for file in Path(path).parent.iterdir())
    assert b"readable-name" in written
    assert b"canary" not in written


async def test_a_missing_key_is_told_as_such(database: Database, source: Source) -> None:
    async with database.read() as conn:
        with pytest.raises(AskAdmin, match=r"keys\.cannot_open"):
            await Sources(Sealer([Fernet.generate_key().decode()])).get(conn, source.id)


async def test_resealing_lets_the_old_key_go(database: Database, sealer: Sealer, source: Source) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    async with database.write() as conn:
        await Sources(sealer).delete(conn, source.id)
    async with database.write() as conn:
        await Sources(Sealer([old])).create(conn, name="b", kind="wecom", config=CONFIG, secrets={"token": "t"})
    with pytest.raises(AskAdmin):
        async with database.write() as conn:
            await Sources(Sealer([new, old])).reseal_all(conn)


async def test_resealed_secrets_open_with_the_new_key_alone(database: Database) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    async with database.write() as conn:
        made = await Sources(Sealer([old])).create(conn, name="b", kind="wecom", config=CONFIG, secrets={"token": "t"})
        assert await Sources(Sealer([new, old])).reseal_all(conn) == 1
        assert await Sources(Sealer([new])).secrets(conn, made.id) == {"token": "t"}


async def test_a_change_of_the_configuration_has_a_new_version(
    database: Database, sources: Sources, source: Source
) -> None:
    renamed = await patched(database, sources, source, {"name": "Branch", "schedule": {"cron": "0 3 * * *"}})
    assert (renamed.name, renamed.schedule, renamed.version) == ("Branch", {"cron": "0 3 * * *"}, 2)
    assert renamed.updated_at > source.updated_at
    planned = await patched(database, sources, source, {"next_run_at": now()})
    assert planned.version == 2
    cleared = await patched(database, sources, source, {"schedule": None}, version=2)
    assert (cleared.schedule, cleared.version) == (None, 3)


async def test_a_change_based_on_an_old_version_is_refused(
    database: Database, sources: Sources, source: Source
) -> None:
    await patched(database, sources, source, {"name": "Branch"}, version=1)
    with pytest.raises(Refused, match=r"source\.version_mismatch") as caught:
        await patched(database, sources, source, {"name": "Other"}, version=1)
    assert caught.value.status == 412
    async with database.read() as conn:
        assert (await sources.get(conn, source.id)).name == "Branch"


async def test_what_is_seen_of_a_source_is_no_new_version(database: Database, sources: Sources, source: Source) -> None:
    seen = {
        "range": {"everything": True},
        "readable": ["mobile"],
        "swept": 7,
        "swept_at": now(),
        "open_approval": "run_1",
    }
    async with database.write() as conn:
        await sources.record(conn, source.id, **seen)
        after = await sources.get(conn, source.id)
    assert (after.range, after.readable, after.swept) == ({"everything": True}, ("mobile",), 7)
    assert (after.swept_at, after.open_approval, after.version) == (seen["swept_at"], "run_1", 1)


@pytest.mark.parametrize("changes", [{"id": "src_x"}, {"version": 9}])
async def test_only_the_configuration_is_patched(
    database: Database, sources: Sources, source: Source, changes: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match="not part"):
        await patched(database, sources, source, changes)


async def test_a_secret_left_out_stays_and_null_removes_it(
    database: Database, sources: Sources, source: Source
) -> None:
    both = await patched(database, sources, source, {"secrets": {"contacts_secret": "c"}})
    assert both.secrets_set == {"app_secret", "contacts_secret"}
    one = await patched(database, sources, source, {"secrets": {"app_secret": None}})
    assert one.secrets_set == {"contacts_secret"}


async def test_the_company_is_fixed_once_there_are_people(database: Database, sources: Sources, source: Source) -> None:
    other = CONFIG | {"corp_id": "ww_other"}
    assert (await patched(database, sources, source, {"config": other})).corp_id == "ww_other"
    person = UserRow(
        id="usr_1",
        source_id=source.id,
        user_key="lisi",
        userid="lisi",
        observed_at=now(),
        created_at=now(),
        updated_at=now(),
    )
    async with database.write() as conn:
        await conn.execute(insert(table_of(UserRow)).values(person.model_dump()))
    with pytest.raises(Refused, match=r"source\.corp_id_fixed") as caught:
        await patched(database, sources, source, {"config": CONFIG})
    assert caught.value.status == 409
    assert (await patched(database, sources, source, {"config": other | {"agent_id": 1}})).config["agent_id"] == 1


async def test_a_deleted_source_is_readable_and_does_nothing(
    database: Database, sources: Sources, source: Source
) -> None:
    async with database.write() as conn:
        deleted = await sources.delete(conn, source.id)
    assert deleted.deleted_at is not None
    assert not deleted.enabled
    assert await sources.by_callback_key(database, source.callback_key) is None
    async with database.read() as conn:
        assert await sources.list(conn) == []
        assert await sources.list(conn, deleted=True) == [deleted]
        assert await sources.get(conn, source.id) == deleted
    for change in (lambda conn: sources.delete(conn, source.id), lambda conn: sources.patch(conn, source.id, {})):
        with pytest.raises(Refused, match=r"source\.not_found") as caught:
            async with database.write() as conn:
                await change(conn)
        assert caught.value.status == 404


async def test_a_callback_key_leads_to_its_source(database: Database, sources: Sources, source: Source) -> None:
    assert len(source.callback_key) >= 32
    receiver = await sources.by_callback_key(database, source.callback_key)
    assert receiver is not None
    assert (receiver.source_id, receiver.kind, receiver.pairs, receiver.awaited) == (source.id, "wecom", (), None)
    assert await sources.by_callback_key(database, "unknown") is None


async def test_a_change_is_seen_by_the_next_callback(database: Database, sources: Sources, source: Source) -> None:
    assert await receiver_pairs(database, sources, source) == []
    own = {"token": "t1", "encoding_aes_key": "k" * 43}
    await patched(database, sources, source, {"secrets": own})
    assert await receiver_pairs(database, sources, source) == ["t1"]
    await patched(database, sources, source, {"secrets": own | {"token": "t2"}})
    assert await receiver_pairs(database, sources, source) == ["t2"]


async def test_a_reader_in_the_middle_of_a_change_remembers_nothing_old(
    database: Database, sources: Sources, source: Source
) -> None:
    async with database.write() as conn:
        await sources.patch(conn, source.id, {"secrets": {"token": "t1", "encoding_aes_key": "k" * 43}})
        assert await receiver_pairs(database, sources, source) == []
    assert await receiver_pairs(database, sources, source) == ["t1"]


async def test_a_change_by_another_process_is_seen_soon(
    database: Database, sealer: Sealer, sources: Sources, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await receiver_pairs(database, sources, source) == []
    change = {"secrets": {"token": "t1", "encoding_aes_key": "k" * 43}}
    await patched(database, Sources(sealer), source, change)
    assert await receiver_pairs(database, sources, source) == []
    passed = sources_module.time.monotonic() + sources_module.CACHED_SECONDS
    monkeypatch.setattr(sources_module.time, "monotonic", lambda: passed)
    assert await receiver_pairs(database, sources, source) == ["t1"]


async def test_a_rotation_keeps_the_old_pair_until_the_new_one_has_proven_itself(
    database: Database, sources: Sources, source: Source
) -> None:
    async with database.write() as conn:
        await sources.rotate_pair(conn, source.id, pair("a"))
        rotated = await sources.rotate_pair(conn, source.id, pair("b"), overlap_seconds=3600)
    assert rotated.version == 3
    assert rotated.secrets_set == {"app_secret", "token", "encoding_aes_key"}
    receiver = await sources.by_callback_key(database, source.callback_key)
    assert receiver is not None
    assert (receiver.pairs, receiver.awaited) == ((pair("b"), pair("a")), 0)
    async with database.write() as conn:
        await sources.pair_used(conn, source.id, pair("b"), verified=True)
        after = await sources.get(conn, source.id)
        assert "previous_pairs" not in await sources.revealed(conn, source.id)
    assert after.verified_at is not None
    assert after.version == 3
    receiver = await sources.by_callback_key(database, source.callback_key)
    assert receiver is not None
    assert (receiver.pairs, receiver.awaited) == ((pair("b"), pair("a")), None)


async def test_without_overlap_the_old_pair_ends_with_the_first_request_of_the_new(
    database: Database, sources: Sources, source: Source
) -> None:
    async with database.write() as conn:
        await sources.rotate_pair(conn, source.id, pair("a"))
        await sources.rotate_pair(conn, source.id, pair("b"), overlap_seconds=0)
    assert await receiver_pairs(database, sources, source) == ["tokenb", "tokena"]
    async with database.write() as conn:
        await sources.pair_used(conn, source.id, pair("a"), verified=False)
    assert await receiver_pairs(database, sources, source) == ["tokenb", "tokena"]
    async with database.write() as conn:
        await sources.pair_used(conn, source.id, pair("b"), verified=False)
    assert await receiver_pairs(database, sources, source) == ["tokenb"]
