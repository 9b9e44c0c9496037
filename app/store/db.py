"""The database: its connections, its transactions and what their failures mean. Only this file opens transactions.

SQLite has one writer connection beside a pool of readers; PostgreSQL has one pool. No network inside a transaction.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import QueuePool
from sqlmodel import SQLModel

from app.core.ids import new_id as new_id
from app.errors import TryLater, WorkerTaken
from app.settings import Settings
from app.store.bulk import table_of
from app.store.leases import TTL, Lease, fence
from app.store.observations import BlockNumbers, Observations, SequenceNumbers

Result = TypeVar("Result")

BUSY_SECONDS: Final = 10
CLOSING_LOOKS: Final = 500
READERS: Final = 4
POSTGRES_POOL: Final = 10
# mmap is left off: mapped pages count as our memory, and an I/O error would be a SIGBUS instead of an exception.
PRAGMAS: Final = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
    "temp_store = MEMORY",
    "cache_size = -16000",
    "mmap_size = 0",
    "journal_size_limit = 67108864",
)
# A worker that was stopped inside a transaction must not block the others for longer than a few leases last.
SESSION: Final = "-c idle_in_transaction_session_timeout=10s -c lock_timeout=5s -c timezone=UTC"
# Primary result codes of SQLite that pass by themselves or with a repaired disk (https://sqlite.org/rescode.html):
# BUSY, LOCKED, NOMEM, INTERRUPT, IOERR, FULL, CANTOPEN, PROTOCOL.
SQLITE_UNAVAILABLE: Final = frozenset({5, 6, 7, 9, 10, 13, 14, 15})
# SQLSTATE classes of PostgreSQL: connection, rollback for concurrency, resources, not in the right state, operator
# intervention, system error; 25P03 and 25P04 end a session that was idle in its transaction for too long.
POSTGRES_UNAVAILABLE: Final = ("08", "40", "53", "55", "57", "58", "25P03", "25P04")


def now() -> datetime:
    return datetime.now(UTC)


def url_of(settings: Settings) -> str:
    """The database these settings name; SQLite in the data directory unless another is given."""
    given = settings.database_url
    return given.get_secret_value() if given else f"sqlite:///{settings.data_dir / 'wecom-sync.db'}"


def driver_url(url: str) -> URL:
    """`url` with the driver that we use; accepts postgres://, postgresql:// and sqlite:///."""
    parsed = make_url(url.replace("postgres://", "postgresql://", 1) if url.startswith("postgres://") else url)
    names = {"postgresql": "postgresql+psycopg", "sqlite": "sqlite+aiosqlite"}
    return parsed.set(drivername=names[parsed.get_backend_name()])


def insert_into(conn: AsyncConnection, row: type[SQLModel]) -> "sqlite.Insert | postgresql.Insert":
    """An INSERT of this connection's dialect, so that it may say `on_conflict_do_update`."""
    table = table_of(row)
    return postgresql.insert(table) if conn.dialect.name == "postgresql" else sqlite.insert(table)


class Database:
    """One open database; belongs to the event loop that opened it."""

    def __init__(
        self,
        readers: AsyncEngine,
        writer: AsyncEngine,
        dialect: Literal["sqlite", "postgresql"],
        in_thread: Engine | None = None,
    ) -> None:
        self.dialect = dialect
        self._readers = readers
        self._writer = writer
        self._in_thread = in_thread
        self._thread = ThreadPoolExecutor(1, "database")  # its thread ends with this object
        self._turn = asyncio.Lock() if dialect == "sqlite" else None
        self._holder: asyncio.Task[Any] | None = None
        self._observations: Observations = (
            BlockNumbers(self.write)
            if dialect == "sqlite"
            else SequenceNumbers(writer.execution_options(isolation_level="AUTOCOMMIT"))
        )

    @classmethod
    async def open(cls, url: str) -> "Database":
        """Connect to a migrated database. Raises TryLater when it cannot be reached."""
        target = driver_url(url)
        if target.get_backend_name() == "sqlite":
            writer = sqlite_engine(target, "BEGIN IMMEDIATE", 1)
            database = cls(sqlite_engine(target, "BEGIN", READERS), writer, "sqlite", sqlite_in_thread(target))
        else:
            engine = postgres_engine(target)
            # A read sees one snapshot on both databases.
            readers = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            database = cls(readers, engine, "postgresql")
        try:
            async with database.write():
                pass
        except BaseException:
            await database.close()
            raise
        return database

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A read transaction: one snapshot, writing is refused. Keep it short."""
        with unavailable_as_try_later():
            async with self._readers.begin() as conn:
                yield conn

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A write transaction, committed at the end, rolled back by an exception; in turn on SQLite."""
        async with self._take_turn():
            with unavailable_as_try_later():
                async with self._writer.begin() as conn:
                    yield conn

    async def write_at_once(self, work: Callable[[Connection], Result]) -> Result:
        """A write transaction made by `work`, which awaits nothing.

        On SQLite all of it runs in one thread: a small transaction pays for one change of threads, not for one with
        each statement.
        """
        if self._in_thread is None:
            async with self.write() as conn:
                return await conn.run_sync(work)
        async with self._take_turn():
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._work, self._in_thread, work)

    @staticmethod
    def _work(engine: Engine, work: Callable[[Connection], Result]) -> Result:
        with unavailable_as_try_later(), engine.begin() as conn:
            return work(conn)

    @asynccontextmanager
    async def fenced(self, lease: Lease, ttl: float = TTL) -> AsyncIterator[AsyncConnection]:
        """A write transaction of the holder of `lease`, which it renews. Raises Fenced when somebody else has it."""
        async with self.write() as conn:
            await fence(conn, lease, ttl)
            yield conn

    async def observe(self) -> int:
        """The next observation number. Not inside a write transaction: there, `observe_in`."""
        with unavailable_as_try_later():
            return await self._observations.take()

    async def observe_in(self, conn: AsyncConnection) -> int:
        """The next observation number, within the open write transaction `conn`."""
        return await conn.run_sync(self._observations.take_in)

    def number_in(self, conn: Connection) -> int:
        """The next observation number, within a transaction of `write_at_once`."""
        return self._observations.take_in(conn)

    async def close(self) -> None:
        """Close every connection; one that a cancelled task is still giving back is waited for."""
        for engine in (self._writer, self._readers):
            await _all_given_back(engine)
        if self._in_thread is not None:
            # A connection is closed by the thread that opened it.
            await asyncio.get_running_loop().run_in_executor(self._thread, self._in_thread.dispose)
        await self._writer.dispose()
        await self._readers.dispose()

    @asynccontextmanager
    async def _take_turn(self) -> AsyncIterator[None]:
        task = asyncio.current_task()
        if self._turn is None:
            yield
            return
        if self._holder is task:
            raise RuntimeError("this task is already inside a write transaction")
        async with self._turn:
            self._holder = task
            try:
                yield
            finally:
                self._holder = None


async def _all_given_back(engine: AsyncEngine) -> None:
    """SQLAlchemy gives a cancelled task's connection back in a task of its own, which nobody can wait for."""
    pool = engine.sync_engine.pool
    for _ in range(CLOSING_LOOKS):
        if not isinstance(pool, QueuePool) or not pool.checkedout():
            return
        await asyncio.sleep(0.01)


def sqlite_engine(url: URL, begin: str, size: int, pragmas: tuple[str, ...] = PRAGMAS) -> AsyncEngine:
    """Connections to a SQLite file (made with mode 0600) whose transactions start with `begin`."""
    path = Path(url.database or "")
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    engine = create_async_engine(url, pool_size=size, max_overflow=0, **_SQLITE_OPTIONS)
    _prepare(engine.sync_engine, begin, pragmas)
    return engine


def sqlite_in_thread(url: URL) -> Engine:
    """One connection for writing, to be used by one thread."""
    engine = create_engine(url.set(drivername="sqlite"), pool_size=1, max_overflow=0, **_SQLITE_OPTIONS)
    _prepare(engine, "BEGIN IMMEDIATE", PRAGMAS)
    return engine


_SQLITE_OPTIONS: Final[dict[str, Any]] = {"connect_args": {"timeout": BUSY_SECONDS}, "hide_parameters": True}


def _prepare(engine: Engine, begin: str, pragmas: tuple[str, ...]) -> None:
    query_only = "OFF" if begin == "BEGIN IMMEDIATE" else "ON"

    @event.listens_for(engine, "connect")
    def prepare(connection: DBAPIConnection, _record: object) -> None:
        connection.isolation_level = None  # sqlite3 begins nothing by itself
        cursor = connection.cursor()
        for pragma in (*pragmas, f"query_only = {query_only}"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)


def postgres_engine(url: URL, session: str = SESSION) -> AsyncEngine:
    """Connections to PostgreSQL whose sessions have the options of `session`."""
    engine = create_async_engine(
        url,
        pool_size=POSTGRES_POOL,
        max_overflow=5,
        pool_timeout=BUSY_SECONDS,
        pool_recycle=1800,
        hide_parameters=True,
        connect_args={
            "options": session,
            "application_name": "wecom-sync",
            "connect_timeout": 5,
            "keepalives_idle": 30,
            "tcp_user_timeout": 20_000,
        },
    )

    @event.listens_for(engine.sync_engine, "handle_error")
    def hide_values(context: ExceptionContext) -> None:
        """PostgreSQL quotes the offending row in its messages; people's data must not reach a log."""
        refused = context.sqlalchemy_exception
        if isinstance(refused, IntegrityError | DataError):
            diagnosis = getattr(refused.orig, "diag", None)
            constraint = getattr(diagnosis, "constraint_name", None) or "no constraint"
            message = f"{type(refused.orig).__name__} ({constraint})"
            refused.args = (message,)
            context.original_exception.args = (message,)

    return engine


@contextmanager
def unavailable_as_try_later() -> Iterator[None]:
    """Failures that pass by themselves become TryLater; a refused value or a wrong statement stays what it is."""
    try:
        yield
    except PoolTimeout as error:
        raise TryLater("database.unavailable", "the database has no free connection") from error
    except DBAPIError as error:
        if not is_unavailable(error):
            raise
        raise TryLater("database.unavailable", "the database cannot be used at the moment") from error


def is_unavailable(error: DBAPIError) -> bool:
    if error.connection_invalidated:
        return True
    sqlite_code = getattr(error.orig, "sqlite_errorcode", None)
    if sqlite_code is not None:
        return sqlite_code & 0xFF in SQLITE_UNAVAILABLE
    sqlstate = getattr(error.orig, "sqlstate", None)
    if sqlstate is not None:
        return str(sqlstate).startswith(POSTGRES_UNAVAILABLE)
    # psycopg names no state when no server answered.
    return type(error).__name__ == "OperationalError"


@contextmanager
def hold_worker_lock(data_dir: Path) -> Iterator[None]:
    """Held by the one process that works on a SQLite database. Raises WorkerTaken; the kernel frees it at our death."""
    descriptor = os.open(data_dir / "worker.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WorkerTaken(f"another process works on the database in {data_dir}") from None
        yield
    finally:
        os.close(descriptor)
