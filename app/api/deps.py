"""What every route may use: one typed object, made when the application starts."""

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from app.api.field_texts import field_message
from app.api.language import Language
from app.api.metrics import Metrics
from app.api.problem import invalid, language_of
from app.core.ports import Engine, TokenStore
from app.errors import FieldError
from app.settings import Settings
from app.sources.kinds import ClientFactory
from app.store.db import Database
from app.store.inbox_writer import InboxWriter
from app.store.keys import Keys
from app.store.sources import Sources
from app.store.targets import Targets

ADMIN: Final = "admin"
"""The name of the administrator's token in the audit."""


@dataclass(frozen=True, slots=True)
class Service:
    """The open parts of a running service. `client_factory` replaces the HTTP client of checks; tests use it."""

    settings: Settings
    keys: Keys
    db: Database
    sources: Sources
    targets: Targets
    inbox: InboxWriter
    tokens: TokenStore
    engine: Engine
    metrics: Metrics
    client_factory: ClientFactory | None = None

    def callback_url(self, key: str) -> str:
        return f"{self.settings.public_url}/callbacks/{key}"


def service_of(request: Request) -> Service:
    """The service behind this request."""
    service: Service = request.app.state.service
    return service


def known_query(request: Request) -> None:
    """Refuse query parameters that the operation does not name, and NUL, which PostgreSQL cannot compare with: nothing
    has such an id."""
    if any("\x00" in str(value) for value in request.path_params.values()):
        raise HTTPException(404)
    known = request.app.state.query_names().get(request.scope["endpoint"].__name__, frozenset())
    language = language_of(request)
    wrong = [
        FieldError(f"/query/{name}"[:200], field_message(kind, {}, language))
        for name, value in request.query_params.multi_items()
        for kind in (["extra_forbidden"] if name not in known else ["unstorable"] if "\x00" in value else [])
    ]
    if wrong:
        raise invalid(wrong[:50])


ServiceDep = Annotated[Service, Depends(service_of)]
LanguageDep = Annotated[Language, Depends(language_of)]

bearer = HTTPBearer(
    auto_error=False,
    scheme_name="adminToken",
    description="The administrator's token; `serve` prints where it is kept.",
)
