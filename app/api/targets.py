"""Targets: where the directory is brought to, how that goes, and what waits."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.deps import ADMIN, LanguageDep, Service, ServiceDep
from app.api.field_texts import field_message
from app.api.language import Language
from app.api.openapi import problems
from app.api.paging import Cursor, Limit, Page, decode, paged
from app.api.problem import invalid
from app.api.schemas.fields import Text
from app.api.schemas.runs import RunOut, run_out
from app.api.schemas.sources import ChecksOut, check_out
from app.api.schemas.targets import (
    DeliveryOut,
    DeliveryState,
    ResyncOrder,
    SecretOut,
    SecretRotation,
    TargetChange,
    TargetMade,
    TargetNew,
    TargetOut,
    delivery_out,
    target_out,
)
from app.api.source_config import changed_parts, new_parts, shown
from app.api.sources import IfMatch
from app.errors import FieldError, Refused
from app.store import audit, deliveries, runs
from app.store.db import now
from app.store.targets import Target, fresh_id
from app.sync import outlets
from app.targets.kinds import KINDS, TargetKind

router = APIRouter(tags=["Targets"])

NOT_FOUND = "target.not_found"
MISMATCH = "target.version_mismatch"


@router.post("/targets", status_code=201, summary="Add a target", responses=problems({404: "source.not_found"}))
async def create_target(
    body: TargetNew, service: ServiceDep, language: LanguageDep, request: Request, response: Response
) -> TargetMade:
    """A webhook without a `secret` gets one; this answer shows it, and no other ever does."""
    kind = _kind(body.kind, language)
    made = kind.completed(body.config)
    parts = new_parts(kind, {**body.config, **made}, language)
    config = kind.config.model_validate({**parts.config, **parts.secrets})
    async with service.db.write() as conn:
        target = await service.targets.create(
            conn,
            id=fresh_id(),
            source_id=body.source_id,
            name=body.name,
            kind=kind.name,
            config=parts.config,
            secrets=parts.secrets,
            channel=kind.channel(config),
            wants_news=kind.wants_news,
            enabled=body.enabled,
            guard=body.guard.model_dump(exclude_unset=True) if body.guard else {},
        )
        if target.enabled:
            await runs.order_resync(conn, target.id, target.source_id)
        await audit.record(conn, ADMIN, "target.create", target.id)
        answer = await _answer(conn, target, language)
    service.engine.wake("deliver", target.id)
    response.headers["Location"] = f"{request.url.path}/{target.id}"
    response.headers["ETag"] = _etag(target)
    return TargetMade(**answer.model_dump(), secret=made.get("secret"))


@router.get("/targets", summary="List targets", responses=problems({400: "cursor.invalid"}))
async def list_targets(
    service: ServiceDep,
    language: LanguageDep,
    request: Request,
    response: Response,
    source_id: Annotated[Text | None, Query(max_length=64, description="Of this source only.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[TargetOut]:
    after = decode("targets", cursor, str)
    async with service.db.read() as conn:
        found = await service.targets.list(conn, source_id=source_id, after=after, limit=limit + 1)
        items = [(target.id, await _answer(conn, target, language)) for target in found]
    return paged(request, response, "targets", items, limit)


@router.get("/targets/{target_id}", summary="Read a target", responses=problems({404: NOT_FOUND}))
async def get_target(target_id: str, service: ServiceDep, language: LanguageDep, response: Response) -> TargetOut:
    async with service.db.read() as conn:
        target = await service.targets.get(conn, target_id)
        answer = await _answer(conn, target, language)
    response.headers["ETag"] = _etag(target)
    return answer


@router.patch("/targets/{target_id}", summary="Change a target", responses=problems({404: NOT_FOUND, 412: MISMATCH}))
async def change_target(
    target_id: str,
    body: TargetChange,
    service: ServiceDep,
    language: LanguageDep,
    response: Response,
    if_match: IfMatch = None,
) -> TargetOut:
    """It is tried at once, whatever failed before. Changing `url` demands the secrets again: a stored secret never goes
    to a new address."""
    async with service.db.write() as conn:
        target = await service.targets.get(conn, target_id)
        changes = await _changes(conn, service, target, body, language)
        if if_match and if_match.strip() not in ("*", _etag(target)):
            raise Refused(MISMATCH, "The target was changed in the meantime.", status=412)
        changed = await service.targets.patch(conn, target_id, changes)
        if changed.enabled and not target.enabled and await runs.active_resync(conn, target_id) is None:
            await runs.order_resync(conn, target_id, target.source_id)
        await audit.record(conn, ADMIN, "target.change", target_id, fields=sorted(body.model_fields_set))
        answer = await _answer(conn, changed, language)
    service.engine.wake("deliver", target_id)
    response.headers["ETag"] = _etag(changed)
    return answer


@router.delete("/targets/{target_id}", status_code=204, summary="Delete a target", responses=problems({404: NOT_FOUND}))
async def delete_target(target_id: str, service: ServiceDep) -> Response:
    """Nothing more is sent; what the other system has stays there."""
    async with service.db.write() as conn:
        await service.targets.delete(conn, target_id)
        await audit.record(conn, ADMIN, "target.delete", target_id)
    return Response(status_code=204)


@router.post("/targets/{target_id}/check", summary="Check a target", responses=problems({404: NOT_FOUND}))
async def check_target(target_id: str, service: ServiceDep, language: LanguageDep) -> ChecksOut:
    """Whether it can be reached and written to. A webhook is sent a test event (`ping`), a NocoBase nothing. Failed
    checks are a 200 too."""
    async with service.db.read() as conn:
        target = await service.targets.get(conn, target_id)
    allowed = service.settings.webhook_allowed
    checks = await outlets.check(service.db, service.sources, service.targets, target, allowed)
    ok = all(check.status != "failed" for check in checks)
    return ChecksOut(ok=ok, checks=[check_out(check, language) for check in checks])


@router.post(
    "/targets/{target_id}/secret",
    summary="Make a new signing secret",
    responses=problems({404: NOT_FOUND, 409: "target.no_secret"}),
)
async def rotate_secret(target_id: str, service: ServiceDep, body: SecretRotation | None = None) -> SecretOut:
    """For a webhook. The present secret signs too for `overlap_seconds`, so that no event is lost while the receiver
    changes over."""
    until = now() + timedelta(seconds=(body or SecretRotation()).overlap_seconds)
    async with service.db.write() as conn:
        target = await service.targets.get(conn, target_id)
        kind = KINDS[target.kind]
        if kind.rotated is None:
            raise Refused("target.no_secret", "This kind of target has no signing secret of ours.")
        changes = kind.rotated(await service.targets.revealed(conn, target_id), until)
        secrets = {name: value for name, value in changes.items() if name in kind.secret_fields}
        config = {**target.config, **{name: value for name, value in changes.items() if name not in secrets}}
        await service.targets.patch(conn, target_id, {"config": config, "secrets": secrets})
        await audit.record(conn, ADMIN, "target.rotate_secret", target_id)
    return SecretOut(secret=changes["secret"], old_secret_until=until)


@router.post(
    "/targets/{target_id}/resync",
    status_code=202,
    summary="Bring a target to the whole directory",
    responses=problems({404: NOT_FOUND, 409: "run.already_active"}),
)
async def resync_target(
    target_id: str,
    service: ServiceDep,
    language: LanguageDep,
    request: Request,
    response: Response,
    body: ResyncOrder | None = None,
) -> RunOut:
    """Compares what the target has acknowledged with the directory and sends what differs. A dry run sends nothing, and
    names the accounts over there that would be taken over; it works for a disabled target too."""
    dry_run = (body or ResyncOrder()).dry_run
    async with service.db.write() as conn:
        target = await service.targets.get(conn, target_id)
        run = await runs.order_resync(conn, target_id, target.source_id, dry_run=dry_run)
        await audit.record(conn, ADMIN, "target.resync", target_id, dry_run=dry_run)
    service.engine.wake("deliver", target_id)
    response.headers["Location"] = request.url.path.replace(f"/targets/{target_id}/resync", f"/runs/{run.id}")
    response.headers["Retry-After"] = "2"
    return run_out(run, language)


@router.get(
    "/targets/{target_id}/deliveries",
    summary="List the deliveries to a target",
    responses=problems({400: "cursor.invalid", 404: NOT_FOUND}),
)
async def list_target_deliveries(
    target_id: str,
    service: ServiceDep,
    request: Request,
    response: Response,
    state: DeliveryState | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[DeliveryOut]:
    """Newest first. What was delivered is kept for a week."""
    after = decode("deliveries", cursor, str)
    async with service.db.read() as conn:
        await service.targets.get(conn, target_id)
        found = await deliveries.list_deliveries(conn, target_id, state=state, after=after, limit=limit)
    return paged(request, response, "deliveries", [(key, delivery_out(one)) for key, one in found], limit)


@router.get("/deliveries/{delivery_id}", summary="Read a delivery", responses=problems({404: "delivery.not_found"}))
async def get_delivery(delivery_id: str, service: ServiceDep) -> DeliveryOut:
    async with service.db.read() as conn:
        return delivery_out(await deliveries.get(conn, delivery_id))


@router.post(
    "/deliveries/{delivery_id}/retry",
    status_code=202,
    summary="Send a delivery again",
    responses=problems({404: "delivery.not_found", 409: "delivery.not_waiting"}),
)
async def retry_delivery(delivery_id: str, service: ServiceDep) -> DeliveryOut:
    """For one that was given up, or waits for its next try: the object as it is now is sent at once."""
    async with service.db.write() as conn:
        delivery = await deliveries.retry(conn, delivery_id)
        await audit.record(conn, ADMIN, "delivery.retry", delivery_id)
    service.engine.wake("deliver", delivery.target_id)
    return delivery_out(delivery)


async def _changes(
    conn: AsyncConnection, service: Service, target: Target, body: TargetChange, language: Language
) -> dict[str, Any]:
    given = body.model_fields_set
    changes: dict[str, Any] = {name: getattr(body, name) for name in ("name", "enabled") if name in given}
    if "guard" in given:
        changes["guard"] = body.guard.model_dump(exclude_unset=True) if body.guard else {}
    if body.config is not None:
        kind = KINDS[target.kind]
        if kind.rotated and "secret" in body.config and body.config["secret"] is None:
            raise invalid([FieldError("/config/secret", field_message("not_null", {}, language))])
        stored = await service.targets.revealed(conn, target.id)
        parts = changed_parts(kind, stored, body.config, language)
        config = kind.config.model_validate({**stored, **parts.config, **parts.secrets})
        changes |= {"config": parts.config, "secrets": parts.secrets, "channel": kind.channel(config)}
    return changes


async def _answer(conn: AsyncConnection, target: Target, language: Language) -> TargetOut:
    config = shown(KINDS[target.kind], target.config, target.secrets_set)
    backlog = await deliveries.backlog(conn, target)
    return target_out(target, config=config, backlog=backlog, language=language)


def _kind(name: str, language: Language) -> TargetKind:
    if name not in KINDS:
        raise invalid([FieldError("/kind", field_message("unknown_kind", {}, language))])
    return KINDS[name]


def _etag(target: Target) -> str:
    return f'"{target.version}"'
