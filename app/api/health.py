"""For monitoring: alive, ready, figures."""

from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from fastapi import APIRouter, Response, Security
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from app.api.deps import Service, ServiceDep, bearer
from app.api.openapi import problems
from app.errors import Refused, ServiceError
from app.store import facts
from app.store.migrations import schema_state
from app.store.workers import last_beat

router = APIRouter(tags=["Service"])

BEATS_WITHIN: Final = timedelta(seconds=30)


class Health(BaseModel):
    status: Literal["ok"]


class ReadinessCheck(BaseModel):
    status: Literal["ok", "warning", "failed"]
    detail: str


class Readiness(BaseModel):
    """WeCom being down does not matter here. When a check has failed, the problem report holds `checks` too."""

    status: Literal["ready"]
    checks: dict[str, ReadinessCheck]


@router.get("/healthz", summary="Alive?")
async def get_health() -> Health:
    return Health(status="ok")


@router.get(
    "/readyz",
    summary="Ready to serve?",
    responses=problems({503: "server.not_ready"}),
)
async def get_readiness(service: ServiceDep) -> Readiness:
    """The database answers with a schema of this version or newer; with the embedded worker, that it is at work."""
    checks = await _checks(service)
    if any(check.status == "failed" for check in checks.values()):
        shown = {name: check.model_dump() for name, check in checks.items()}
        raise Refused("server.not_ready", "A check has failed.", status=503, extra={"checks": shown})
    return Readiness(status="ready", checks=checks)


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    dependencies=[Security(bearer)],
    response_class=PlainTextResponse,
    responses={
        200: {"content": {"text/plain": {"example": "wecom_sync_approval_open 0.0\n"}}},
        **problems({401: "request.unauthorized"}),
    },
)
async def get_metrics(service: ServiceDep) -> Response:
    """Needs the token unless the setting METRICS_PUBLIC is true."""
    async with service.db.read() as conn:
        figures = await facts.read(conn)
    return Response(service.metrics.render(figures), media_type=CONTENT_TYPE_LATEST)


async def _checks(service: Service) -> dict[str, ReadinessCheck]:
    try:
        async with service.db.read() as conn:
            schema, beat = await schema_state(conn), await last_beat(conn)
    except ServiceError as error:
        unknown = ReadinessCheck(status=_missed(service), detail="unknown")
        return {"database": ReadinessCheck(status="failed", detail=error.code), "worker": unknown}
    database = ReadinessCheck(status="failed" if schema == "behind" else "ok", detail=schema)
    return {"database": database, "worker": _worker(service, beat)}


def _worker(service: Service, beat: datetime | None) -> ReadinessCheck:
    detail = beat.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z") if beat else "never"
    alive = beat is not None and datetime.now(UTC) - beat < BEATS_WITHIN
    return ReadinessCheck(status="ok" if alive else _missed(service), detail=detail)


def _missed(service: Service) -> Literal["warning", "failed"]:
    return "failed" if service.settings.worker == "embedded" else "warning"
