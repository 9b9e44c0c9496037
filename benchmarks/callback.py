"""Callbacks per second: ours with its durable store, against the same route without a store, and a bare POST.

    python -m benchmarks.callback [--seconds 5] [--rate 300]

All three run one after another in the same run, each in a server process of its own, driven by the same generator over
keep-alive connections with requests that were encrypted beforehand. Afterwards our route is driven at a fixed rate, and
the time of each answer is kept for the 99th percentile.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from app.core.event import Event
from app.logs import configure
from app.main import create_app
from app.settings import Settings
from app.simulator.crypto import encrypt, sign
from app.store.db import url_of
from app.store.inbox_writer import InboxWriter, StoredEvent
from app.store.migrations import migrate
from benchmarks.full_sync import free_port

CORP, TOKEN, AES_KEY = "ww1436e0e65a779aee", "benchmark", "6qkdMrq68nTKduznJYO1A37W2oEgpkMUvkttRToqhUt"
CONNECTIONS = 32
SECRET = "benchmark-admin-token"


def bare(port: int, _folder: str) -> None:
    """The least a server can do with a POST: read it and answer."""

    async def answer(request: Request) -> Response:
        await request.body()
        return PlainTextResponse("success")

    serve(Starlette(routes=[Route("/callbacks/{key}", answer, methods=["POST"])]), port)


def verified(port: int, folder: str) -> None:
    """Our own route with its verification, decryption and parsing, and a store that keeps nothing."""

    async def forget(_inbox: InboxWriter, _source_id: str, event: Event) -> StoredEvent:
        return StoredEvent(event.digest, new=True, reopened=False)

    InboxWriter.put = forget  # type: ignore[method-assign]
    stored(port, folder)


def stored(port: int, folder: str) -> None:
    """The whole service as `serve` runs it, without its worker."""
    settings = Settings(data_dir=Path(folder), admin_token=SECRET, worker="none")  # type: ignore[arg-type]
    configure(settings.log_level, settings.log_format)
    asyncio.run(migrate(url_of(settings)))
    serve(create_app(settings), port)


def serve(app: Any, port: int) -> None:
    """One uvicorn process with its usual settings."""
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False)


def requests(path: str, number: int) -> list[bytes]:
    """Different, authentic, encrypted events as whole HTTP requests."""
    made = []
    for _ in range(number):
        xml = (
            f"<xml><ToUserName><![CDATA[{CORP}]]></ToUserName><FromUserName><![CDATA[sys]]></FromUserName>"
            f"<CreateTime>{int(time.time())}</CreateTime><MsgType><![CDATA[event]]></MsgType>"
            "<Event><![CDATA[change_contact]]></Event><ChangeType><![CDATA[update_user]]></ChangeType>"
            f"<UserID><![CDATA[{secrets.token_hex(8)}]]></UserID><Department><![CDATA[1,2]]></Department></xml>"
        )
        sealed = encrypt(AES_KEY, xml.encode(), CORP)
        signature = sign(TOKEN, "1700000000", "42", sealed)
        body = f"<xml><ToUserName><![CDATA[{CORP}]]></ToUserName><Encrypt><![CDATA[{sealed}]]></Encrypt></xml>".encode()
        head = (
            f"POST {path}?msg_signature={signature}&timestamp=1700000000&nonce=42 HTTP/1.1\r\n"
            f"Host: localhost\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        made.append(head.encode() + body)
    return made


async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
    """Send one request and read its answer; anything but 200 ends the benchmark."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(length)


async def throughput(port: int, made: Iterator[bytes], seconds: float) -> float:
    """Answers per second with CONNECTIONS clients that each send the next request at once."""
    count, end = 0, time.perf_counter() + seconds

    async def client() -> None:
        nonlocal count
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            await one(reader, writer, next(made))
            count += 1
        writer.close()

    await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
    return count / seconds


async def latencies(port: int, made: Iterator[bytes], rate: int, seconds: float) -> list[float]:
    """Milliseconds of each answer when requests are due at a fixed rate, whatever the answers take."""
    idle: asyncio.Queue[Any] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        idle.put_nowait(await asyncio.open_connection("127.0.0.1", port))
    took: list[float] = []

    async def send(due: float) -> None:
        streams = await idle.get()
        await one(*streams, next(made))
        took.append((time.perf_counter() - due) * 1000)
        idle.put_nowait(streams)

    start, tasks = time.perf_counter(), []
    for number in range(int(rate * seconds)):
        due = start + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(send(due)))
    await asyncio.gather(*tasks)
    return sorted(took)


async def measure(server: Callable[[int, str], None], arguments: argparse.Namespace) -> dict[str, Any]:
    """One server: its throughput and its latency at the fixed rate."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        process = multiprocessing.get_context("spawn").Process(target=server, args=(port, folder), daemon=True)
        process.start()
        try:
            path = await prepared(port, server is not bare)
            # A store that keeps nothing does not mind the same event again.
            number = int((6000 + arguments.rate) * arguments.seconds) if server is stored else 5000
            made = cycle(requests(path, number))
            rate = await throughput(port, made, arguments.seconds)
            took = await latencies(port, made, arguments.rate, arguments.seconds)
        finally:
            process.kill()
            process.join()
    return {
        "per_second": round(rate),
        "p50_ms": round(took[len(took) // 2], 1),
        "p99_ms": round(took[len(took) * 99 // 100], 1),
    }


async def prepared(port: int, with_source: bool) -> str:
    """The callback path, once the server answers; the whole service gets its source over its own API."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        while True:
            try:
                await client.get("/healthz")
                break
            except httpx.TransportError:
                await asyncio.sleep(0.05)
        if not with_source:
            return "/callbacks/x"
        config = {"corp_id": CORP, "token": TOKEN, "encoding_aes_key": AES_KEY}
        answer = await client.post(
            "/api/v1/sources",
            json={"name": "bench", "kind": "wecom", "config": config},
            headers={"Authorization": f"Bearer {SECRET}"},
        )
        answer.raise_for_status()
        return "/callbacks/" + str(answer.json()["callback_url"]).rsplit("/", 1)[1]


def main() -> None:
    """Measure all three and print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rate", type=int, default=300)
    arguments = parser.parse_args()
    results = {server.__name__: asyncio.run(measure(server, arguments)) for server in (bare, verified, stored)}
    rates = {name: result["per_second"] for name, result in results.items()}
    ratios = {
        "stored_to_verified": round(rates["stored"] / rates["verified"], 2),
        "stored_to_bare": round(rates["stored"] / rates["bare"], 2),
    }
    print(json.dumps({"cpus": os.cpu_count(), "connections": CONNECTIONS, **results, **ratios}, indent=2))


if __name__ == "__main__":
    main()
