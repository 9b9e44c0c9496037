"""Sources: what is configured, checked and ordered."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.deps import ADMIN, LanguageDep, Service, ServiceDep
from app.api.field_texts import field_message
from app.api.language import Language
from app.api.openapi import problems
from app.api.paging import Cursor, Limit, Page, decode, paged
from app.api.problem import invalid
from app.api.schemas.fields import Text
from app.api.schemas.runs import RunOrder, RunOut, run_out
from app.api.schemas.sources import (
    CallbackCredentials,
    ChecksOut,
    CredentialsOrder,
    SourceChange,
    SourceNew,
    SourceOut,
    check_out,
    source_out,
)
from app.api.source_config import changed_parts, kind_of, new_parts, shown
from app.errors import FieldError, Refused
from app.sources.kinds import KINDS, Kind
from app.sources.wecom.check import CallbackFacts
from app.store import audit, idempotency, pages, runs
from app.store.db import now
from app.store.runs import Run
from app.store.sources import Source
from app.sync.schedule import next_time, nightly

router = APIRouter(prefix="/sources", tags=["Sources"])

ATTEMPTS = 5
NOT_FOUND = "source.not_found"
IfMatch = Annotated[Text | None, Header(max_length=500, description="The `ETag` that the change starts from.")]
IdempotencyKey = Annotated[
    Text | None,
    Header(min_length=1, max_length=255, description="The same key and body within 24 hours get the same run."),
]


@router.post("", status_code=201, summary="Add a source")
async def create_source(
    body: SourceNew, service: ServiceDep, language: LanguageDep, request: Request, response: Response
) -> SourceOut:
    kind = kind_of(body.kind, language)
    parts = new_parts(kind, body.config, language)
    schedule = _schedule(body, parts.config)
    async with service.db.write() as conn:
        source = await service.sources.create(
            conn,
            name=body.name,
            kind=kind.name,
            config=parts.config,
            secrets=parts.secrets,
            enabled=body.enabled,
            schedule=schedule,
            guard=body.guard.stored() if body.guard else {},
            next_run_at=next_time(schedule, now()) if schedule and body.enabled else None,
        )
        await audit.record(conn, ADMIN, "source.create", source.id)
        answer = await _answer(conn, service, source, language)
    response.headers["Location"] = f"{request.url.path}/{source.id}"
    response.headers["ETag"] = _etag(source)
    return answer


@router.get("", summary="List sources", responses=problems({400: "cursor.invalid"}))
async def list_sources(
    service: ServiceDep,
    language: LanguageDep,
    request: Request,
    response: Response,
    limit: Limit = 50,
    cursor: Cursor = None,
    deleted: Annotated[bool, Query(description="Also those that were deleted.")] = False,
) -> Page[SourceOut]:
    after = decode("sources", cursor, str)
    async with service.db.read() as conn:
        found = await pages.list_sources(conn, service.sources, after=after, limit=limit, deleted=deleted)
        last = await pages.last_runs(conn, [source.id for _, source in found])
        items = [(key, await _answer(conn, service, source, language, last)) for key, source in found]
    return paged(request, response, "sources", items, limit)


@router.get("/{source_id}", summary="Read a source", responses=problems({404: NOT_FOUND}))
async def get_source(source_id: str, service: ServiceDep, language: LanguageDep, response: Response) -> SourceOut:
    async with service.db.read() as conn:
        source = await service.sources.get(conn, source_id)
        answer = await _answer(conn, service, source, language)
    response.headers["ETag"] = _etag(source)
    return answer


@router.patch(
    "/{source_id}",
    summary="Change a source",
    responses=problems({404: NOT_FOUND, 409: "source.corp_id_fixed", 412: "source.version_mismatch"}),
)
async def change_source(
    source_id: str,
    body: SourceChange,
    service: ServiceDep,
    language: LanguageDep,
    response: Response,
    if_match: IfMatch = None,
) -> SourceOut:
    """Changing `base_url` or `proxy` demands the secrets that are sent there again: a stored secret never goes to a new
    address."""
    for attempt in range(ATTEMPTS):
        try:
            async with service.db.write() as conn:
                source = await _changed(conn, service, source_id, body, language, if_match)
                await audit.record(conn, ADMIN, "source.change", source.id, fields=sorted(body.model_fields_set))
                answer = await _answer(conn, service, source, language)
        except Refused as refused:
            # Nobody asked for a certain version: the change is laid over the newer one.
            if refused.code != "source.version_mismatch" or if_match or attempt == ATTEMPTS - 1:
                raise
        else:
            break
    response.headers["ETag"] = _etag(source)
    return answer


@router.delete(
    "/{source_id}",
    status_code=204,
    summary="Delete a source",
    responses={
        **problems({404: NOT_FOUND, 422: "request.invalid"}),
        202: {"model": RunOut, "description": "With `purge`: the run that erases."},
    },
)
async def delete_source(
    source_id: str,
    service: ServiceDep,
    language: LanguageDep,
    request: Request,
    purge: Annotated[
        bool, Query(description="Erase its directory and history too; for a deleted source as well.")
    ] = False,
    confirm: Annotated[str | None, Query(max_length=100, description="For a purge: the name of the source.")] = None,
) -> Response:
    """It stops and its secrets are forgotten; its directory and history stay readable unless they are purged."""
    async with service.db.write() as conn:
        source = await (service.sources.get(conn, source_id) if purge else _living(conn, service, source_id))
        if purge and confirm != source.name:
            raise invalid([FieldError("/query/confirm", field_message("purge_confirm", {}, language))])
        if source.deleted_at is None:
            for run_id in await pages.unfinished_runs(conn, source_id):
                await runs.cancel(conn, run_id)
            await service.sources.delete(conn, source_id)
        run = await runs.order_purge(conn, source_id) if purge else None
        await audit.record(conn, ADMIN, "source.purge" if purge else "source.delete", source_id)
    if run is None:
        return Response(status_code=204)
    service.engine.wake("runs", source_id)
    location = request.url.path.replace(f"/sources/{source_id}", f"/runs/{run.id}")
    return JSONResponse(run_out(run, language).model_dump(mode="json"), 202, headers={"Location": location})


@router.post(
    "/{source_id}/callback-credentials", summary="Make a new callback pair", responses=problems({404: NOT_FOUND})
)
async def make_callback_credentials(
    source_id: str, service: ServiceDep, body: CredentialsOrder | None = None
) -> CallbackCredentials:
    """Shown this once. The old pair works on until `overlap_seconds` after the new one verified its first request."""
    overlap = (body or CredentialsOrder()).overlap_seconds
    async with service.db.write() as conn:
        source = await _living(conn, service, source_id)
        pair = KINDS[source.kind].fresh_pair(await _config(conn, service, source))
        await service.sources.rotate_pair(conn, source_id, pair, overlap)
        await audit.record(conn, ADMIN, "source.rotate_callback", source_id, overlap_seconds=overlap)
    return CallbackCredentials(
        callback_url=service.callback_url(source.callback_key), token=pair.token, encoding_aes_key=pair.encoding_aes_key
    )


@router.post("/{source_id}/check", summary="Check a source", responses=problems({404: NOT_FOUND}))
async def check_source(source_id: str, service: ServiceDep, language: LanguageDep) -> ChecksOut:
    """Whether the credentials work, what they may see, and whether callbacks arrive. Failed checks are a 200 too."""
    async with service.db.read() as conn:
        source = await _living(conn, service, source_id)
        config = await _config(conn, service, source)
    checks = await KINDS[source.kind].check(
        config,
        tokens=service.tokens,
        callback=CallbackFacts(service.callback_url(source.callback_key), source.verified_at, source.last_event_at),
        client_factory=service.client_factory,
    )
    ok = all(check.status != "failed" for check in checks)
    return ChecksOut(ok=ok, checks=[check_out(check, language) for check in checks])


@router.post(
    "/{source_id}/runs",
    status_code=202,
    summary="Start a run",
    responses=problems(
        {
            404: NOT_FOUND,
            409: ("run.already_active", "source.disabled"),
            422: ("request.invalid", "idempotency.key_reused"),
        }
    ),
)
async def start_run(
    source_id: str,
    service: ServiceDep,
    language: LanguageDep,
    request: Request,
    response: Response,
    body: RunOrder | None = None,
    idempotency_key: IdempotencyKey = None,
) -> RunOut:
    """A full sync, or one of the objects in `scope`; with `dry_run` everything is planned and nothing changed."""
    run = await _started(service, source_id, body or RunOrder(), idempotency_key)
    service.engine.wake("runs", source_id)
    response.headers["Location"] = request.url.path.replace(f"/sources/{source_id}/runs", f"/runs/{run.id}")
    response.headers["Retry-After"] = "2"
    return run_out(run, language)


async def _started(service: Service, source_id: str, order: RunOrder, key: str | None) -> Run:
    for last in (False, True):
        try:
            async with service.db.write() as conn:
                return await _ordered(conn, service, source_id, order, key)
        except _Twice:
            continue
        except Refused as refused:
            # The run in the way may be that of an equal request of the same moment: then it is the answer.
            if last or key is None or refused.code != "run.already_active":
                raise
    raise Refused("run.already_active", "An equal request was made at the same moment.")


async def _ordered(conn: AsyncConnection, service: Service, source_id: str, order: RunOrder, key: str | None) -> Run:
    body = order.model_dump_json().encode()
    source = await _living(conn, service, source_id)
    if key and (known := await idempotency.recall(conn, source_id, key, body, now())):
        return await runs.get(conn, known)
    kind = "scope" if order.narrow else "full"
    run = await runs.order(conn, source, kind=kind, trigger="api", dry_run=order.dry_run, scope=order.narrow)
    if key and await idempotency.remember(conn, source_id, key, body, run.id, now()) != run.id:
        raise _Twice
    await audit.record(conn, ADMIN, "run.start", run.id, kind=kind, dry_run=order.dry_run)
    return run


class _Twice(Exception):
    """An equal request was faster: what was written here is rolled back."""


async def _living(conn: AsyncConnection, service: Service, source_id: str) -> Source:
    source = await service.sources.get(conn, source_id)
    if source.deleted_at is not None:
        raise Refused(NOT_FOUND, "There is no such source.", status=404)
    return source


async def _config(conn: AsyncConnection, service: Service, source: Source) -> Any:
    return KINDS[source.kind].config.model_validate(await service.sources.revealed(conn, source.id))


async def _changed(
    conn: AsyncConnection,
    service: Service,
    source_id: str,
    body: SourceChange,
    language: Language,
    if_match: str | None,
) -> Source:
    source = await _living(conn, service, source_id)
    if if_match and not _names(if_match, source):
        raise Refused("source.version_mismatch", "The source was changed in the meantime.", status=412)
    if body.kind and body.kind != source.kind:
        raise invalid([FieldError("/kind", field_message("kind_fixed", {}, language))])
    changes = _plain_changes(source, body)
    if body.config is not None:
        stored = await service.sources.revealed(conn, source_id)
        parts = changed_parts(KINDS[source.kind], stored, body.config, language)
        changes |= {"config": parts.config, "secrets": parts.secrets}
    return await service.sources.patch(conn, source_id, changes, version=source.version)


def _plain_changes(source: Source, body: SourceChange) -> dict[str, Any]:
    given = body.model_fields_set
    changes: dict[str, Any] = {name: getattr(body, name) for name in ("name", "enabled") if name in given}
    if "guard" in given:
        changes["guard"] = {**source.guard, **body.guard.stored()} if body.guard else {}
    if "schedule" in given:
        changes["schedule"] = body.schedule.model_dump() if body.schedule else None
    if given & {"schedule", "enabled"}:
        schedule, enabled = changes.get("schedule", source.schedule), changes.get("enabled", source.enabled)
        changes["next_run_at"] = next_time(schedule, now()) if schedule and enabled else None
    return changes


async def _answer(
    conn: AsyncConnection,
    service: Service,
    source: Source,
    language: Language,
    last: Mapping[str, Run] | None = None,
) -> SourceOut:
    kind: Kind = KINDS[source.kind]
    last = await pages.last_runs(conn, [source.id]) if last is None else last
    # Opened to show its host: what is secret in it is masked.
    proxy = (await service.sources.secrets(conn, source.id)).get("proxy") if "proxy" in source.secrets_set else None
    run = last.get(source.id)
    return source_out(
        source,
        config=shown(kind, source.config, source.secrets_set, proxy),
        callback_url=service.callback_url(source.callback_key),
        last_run=run_out(run, language) if run else None,
    )


def _schedule(body: SourceNew, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """What was asked for; of nothing said, once a night."""
    if "schedule" in body.model_fields_set:
        return body.schedule.model_dump() if body.schedule else None
    return nightly(config["corp_id"])


def _etag(source: Source) -> str:
    return f'"{source.version}"'


def _names(if_match: str, source: Source) -> bool:
    """Whether an If-Match header names the present version (RFC 9110, section 13.1.1: weak tags never match)."""
    return if_match.strip() == "*" or _etag(source) in (tag.strip() for tag in if_match.split(","))
