"""A service in process: the real application over ASGI, on a real database, with a worker where one is asked for."""

import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from sqlalchemy import insert, update
from starlette.types import ASGIApp

from app.api.deps import Service
from app.core.event import Event
from app.main import create_app
from app.settings import Settings
from app.simulator.crypto import encrypt, sign
from app.store.bulk import table_of
from app.store.db import Database, new_id, now
from app.store.tables import SourceRow

TOKEN = "admin-canary-4qGx9"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
CORP = "ww1436e0e65a779aee"
CALLBACK_TOKEN = "QDG6eKcanary"
AES_KEY = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"
CONFIG = {"corp_id": CORP, "token": CALLBACK_TOKEN, "encoding_aes_key": AES_KEY}


@dataclass
class Api:
    """A running application, a client with the administrator's token, and the parts behind it."""

    app: FastAPI
    client: httpx.AsyncClient

    @property
    def service(self) -> Service:
        return self.app.state.service

    @property
    def db(self) -> Database:
        return self.service.db

    async def source(self, **fields: Any) -> dict[str, Any]:
        """A source made through the API."""
        body = {"name": "Headquarters", "kind": "wecom", "config": CONFIG, "schedule": None} | fields
        answer = await self.client.post("/api/v1/sources", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def get(self, path: str, **kwargs: Any) -> Any:
        answer = await self.client.get(f"/api/v1{path}", **kwargs)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def insert(self, model: Any, rows: Sequence[dict[str, Any]]) -> None:
        """Rows as a sync would leave them; what a row leaves out has its default."""
        async with self.db.write() as conn:
            await conn.execute(insert(table_of(model)), [model(**row).model_dump(by_alias=False) for row in rows])

    async def set_source(self, source_id: str, **columns: Any) -> None:
        async with self.db.write() as conn:
            table = table_of(SourceRow)
            await conn.execute(update(table).where(table.c.id == source_id).values(**columns))

    async def store_event(self, source_id: str, **fields: Any) -> str:
        """An event in the inbox, as the callback route puts it there."""
        given = {"change_type": "update_user", "kind": "user", "key": "zhangsan", "created": 1, "payload": "<xml/>"}
        event = Event(**given | {"digest": new_id("digest")} | fields)
        return (await self.service.inbox.put(source_id, event)).id


def settings(database_url: str, folder: Path, **values: Any) -> Settings:
    given = {"database_url": database_url, "data_dir": folder, "admin_token": TOKEN, "worker": "none"}
    return Settings(**given | {"public_url": "https://sync.example.com"} | values)


@asynccontextmanager
async def serving(chosen: Settings, **kwargs: Any) -> AsyncIterator[Api]:
    """The application between its start and its end."""
    app = create_app(chosen, **kwargs)
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield Api(app, client)


@contextmanager
def served(app: ASGIApp) -> Iterator[str]:
    """The application on a free port, in a thread of its own."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def client_of(app: FastAPI, **headers: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app)
    return httpx.AsyncClient(transport=transport, base_url="http://service", headers=BEARER | headers)


def signed(encrypted: str, token: str = CALLBACK_TOKEN, **changed: str) -> dict[str, str]:
    """The query of a callback with this ciphertext."""
    stamp = {"timestamp": "1409659813", "nonce": "1372623149"}
    return stamp | {"msg_signature": sign(token, stamp["timestamp"], stamp["nonce"], encrypted)} | changed


def sealed(message: bytes, *, receiver: str = CORP, key: str = AES_KEY) -> str:
    return encrypt(key, message, receiver)


def envelope(encrypted: str) -> bytes:
    return f"<xml><ToUserName>{CORP}</ToUserName><Encrypt><![CDATA[{encrypted}]]></Encrypt></xml>".encode()


def person(source_id: str, userid: str, **fields: Any) -> dict[str, Any]:
    """The row of a user."""
    times = dict.fromkeys(("observed_at", "created_at", "updated_at"), now())
    own = {"id": new_id("usr"), "source_id": source_id, "userid": userid, "user_key": userid.lower(), "status": 1}
    return own | times | fields


def place(source_id: str, number: int, **fields: Any) -> dict[str, Any]:
    """The row of a department."""
    times = dict.fromkeys(("observed_at", "created_at", "updated_at"), now())
    own = {"id": new_id("dep"), "source_id": source_id, "department_id": number, "name": f"Department {number}"}
    return own | times | fields
