"""The application: the only place that knows all parts and joins them."""

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from importlib.metadata import version
from re import Pattern
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Security
from starlette.types import Lifespan

from app.api import (
    callbacks,
    changes,
    directory,
    docs,
    events,
    export,
    health,
    openapi,
    problem,
    runs,
    sources,
    targets,
)
from app.api.deps import Service, bearer, known_query
from app.api.metrics import Metrics
from app.api.middleware import Gate, SecurityHeaders, Trace
from app.core.ports import Engine, Reader, TokenStore
from app.settings import Settings
from app.sources.kinds import KINDS, ClientFactory
from app.store.db import Database, url_of
from app.store.inbox_writer import InboxWriter
from app.store.keys import load_keys
from app.store.sources import Source, Sources
from app.store.targets import Targets
from app.store.tokens import Tokens
from app.sync.outlets import outlets
from app.sync.tasks import OpenReader, Worker


class Unattended:
    """The engine of a process that only answers: a worker elsewhere finds the work in the tables by itself."""

    def wake(self, task: str, key: str) -> None:
        """Nobody here to wake."""


def create_app(settings: Settings, *, client_factory: ClientFactory | None = None) -> FastAPI:
    """The whole service as an ASGI application, for a database that is already migrated.

    `client_factory` makes the HTTP clients that talk to providers; tests hand one in. Starting up raises SettingsError
    for keys that cannot be used and TryLater when the database cannot be reached.
    """
    metrics = Metrics(version("wecom-sync"))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            app.state.service = await _service(stack, settings, metrics, client_factory)
            yield

    app = _routed(lifespan)
    problem.install(app)
    app.openapi = document  # type: ignore[method-assign]  # the way FastAPI is told of another document
    app.state.query_names = _query_names
    app.state.allowed_methods = _allowed_methods
    app.add_middleware(Gate, token=lambda: app.state.service.keys.admin_token, metrics_public=settings.metrics_public)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(Trace, observed=metrics.request)
    return app


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document, the same for every application of this program; built when it is first needed."""
    return openapi.build(_routed())


@cache
def _query_names() -> dict[str, frozenset[str]]:
    return openapi.query_names(document())


@cache
def _allowed_methods() -> list[tuple[Pattern[str], str]]:
    return openapi.allowed_methods(document())


def _routed(lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    """An application with every route; the callbacks come first, for their sake."""
    app = FastAPI(
        title="WeCom Sync",
        version=version("wecom-sync"),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.router.routes.append(callbacks.ROUTE)
    api = APIRouter(prefix="/api/v1", dependencies=[Security(bearer), Depends(known_query)], responses=openapi.always())
    for module in (sources, runs, directory, changes, export, events, targets):
        api.include_router(module.router)
    for router in (api, health.router, docs.router):
        app.include_router(router)
    return app


async def _service(
    stack: AsyncExitStack, settings: Settings, metrics: Metrics, client_factory: ClientFactory | None
) -> Service:
    """Open every part; `stack` closes them in the reverse order."""
    keys = load_keys(settings)
    db = await Database.open(url_of(settings))
    stack.push_async_callback(db.close)
    sources_, targets_ = Sources(keys.sealer), Targets(keys.sealer)
    owner = f"serve@{socket.gethostname()}:{settings.port}"
    tokens = Tokens(db, keys.sealer, owner)
    engine: Engine = Unattended()
    if settings.worker == "embedded":
        open_reader = _reader_opener(db, sources_, tokens, client_factory)
        reaching = outlets(db, sources_, targets_, settings.webhook_allowed)
        worker = Worker(db, sources_, tokens, owner, open_reader, reaching)
        await worker.start()
        stack.push_async_callback(worker.stop)
        engine = worker
    inbox = InboxWriter(db)
    stack.push_async_callback(inbox.close)
    return Service(settings, keys, db, sources_, targets_, inbox, tokens, engine, metrics, client_factory)


def _reader_opener(
    db: Database, sources_: Sources, tokens: TokenStore, client_factory: ClientFactory | None
) -> OpenReader:
    async def open_reader(source: Source) -> Reader:
        kind = KINDS[source.kind]
        async with db.read() as conn:
            config = kind.config.model_validate(await sources_.revealed(conn, source.id))
        return kind.open_reader(config, tokens=tokens, observe=db.observe, client_factory=client_factory)

    return open_reader
