"""Errors as `application/problem+json` (RFC 9457): one stable code per cause, texts in the reader's language."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from app.api.field_texts import field_message
from app.api.language import DEFAULT, Language, negotiate
from app.api.texts import said
from app.errors import AskAdmin, Fenced, FieldError, Refused, ServiceError, SkipOne, TryLater

MEDIA_TYPE: Final = "application/problem+json"
LONGEST_POINTER: Final = 200
MOST_ERRORS: Final = 50

_BY_STATUS: Final = {
    400: "request.malformed",
    401: "request.unauthorized",
    404: "request.not_found",
    405: "request.method_not_allowed",
    413: "request.too_large",
    422: "request.invalid",
}


class FieldProblem(BaseModel):
    """One place of a request that cannot be used."""

    pointer: str = Field(description="JSON Pointer (RFC 6901) into the body, or `/query/…`, `/header/…`, `/path/…`.")
    message: str


class UpstreamProblem(BaseModel):
    """What WeCom said."""

    errcode: int
    errmsg: str


class Problem(BaseModel):
    """A problem report (RFC 9457). Members may be added; `run_id` comes with `run.already_active`."""

    type: str = Field(description="Where the code is explained, relative to this service.")
    title: str
    status: int
    detail: str
    instance: str = Field(description="The path of the request.")
    code: str = Field(description="Stable; the texts beside it are not.")
    request_id: str
    errors: list[FieldProblem] | None = None
    upstream: UpstreamProblem | None = None
    hint: str | None = None
    run_id: str | None = None


class ProblemResponse(JSONResponse):
    media_type = MEDIA_TYPE


def language_of(request: Request) -> Language:
    return negotiate(request.headers.get("accept-language"))


def respond(request: Request, error: ServiceError, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """The problem report of an error, in the language of the request."""
    language = language_of(request)
    texts = said(error.code, language, error.params, error.message, error.hint)
    content: dict[str, Any] = {
        "type": f"/docs/errors#{error.code}",
        "title": texts.title,
        "status": status,
        "detail": texts.detail,
        "instance": request.url.path,
        "code": error.code,
        "request_id": request.scope.get("request_id", ""),
    }
    if texts.hint:
        content["hint"] = texts.hint
    if error.upstream:
        content["upstream"] = {"errcode": error.upstream.errcode, "errmsg": error.upstream.errmsg}
    if isinstance(error, Refused):
        if error.errors:
            content["errors"] = [{"pointer": e.pointer, "message": e.message} for e in error.errors]
        content |= error.extra
    fixed = {"Content-Language": language, "Vary": "Accept-Language"}
    return ProblemResponse(content, status, headers=fixed | dict(headers or {}))


def status_of(error: ServiceError) -> int:
    """The HTTP status that says who acts next: the caller, an administrator at WeCom, or nobody."""
    match error:
        case Refused():
            return error.status
        case TryLater():
            return 503
        case AskAdmin() | SkipOne():
            return 502
    return 500


def pointer_of(location: Iterable[str | int]) -> str:
    """The JSON Pointer of a pydantic error's place; `body` itself is the root."""
    parts = list(location)
    parts = parts[1:] if parts[:1] == ["body"] else parts
    escaped = (str(part).replace("~", "~0").replace("/", "~1") for part in parts)
    return "".join(f"/{part}" for part in escaped)[:LONGEST_POINTER]


def field_errors(errors: Sequence[ErrorDetails], language: Language, prefix: str = "") -> list[FieldError]:
    """Pydantic's errors as ours: no input, no internals, at most 50."""
    return [
        FieldError((prefix + pointer_of(_place(error)))[:LONGEST_POINTER], _message(error, language))
        for error in errors[:MOST_ERRORS]
    ]


def _place(error: ErrorDetails) -> tuple[str | int, ...]:
    # The place inside broken JSON is a character count, not a member of the document.
    return () if error["type"] == "json_invalid" else error["loc"]


def _message(error: ErrorDetails, language: Language) -> str:
    context = error.get("ctx", {})
    if error["type"] == "value_error":
        return str(context["error"])
    return field_message(error["type"], context, language)


def invalid(errors: Sequence[FieldError]) -> Refused:
    """Bad input: 422 `request.invalid` with the places."""
    return Refused("request.invalid", "Some of what was sent cannot be used.", status=422, errors=errors)


def install(app: FastAPI) -> None:
    """Make every error that leaves a route a problem report."""

    @app.exception_handler(ServiceError)
    async def on_service_error(request: Request, error: ServiceError) -> Response:
        headers = dict(error.headers) if isinstance(error, Refused) else {}
        if isinstance(error, TryLater):
            headers["Retry-After"] = str(max(1, round(error.after or 2)))
        return respond(request, error, status_of(error), headers)

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        if error.status_code < 400:
            return Response(status_code=error.status_code, headers=error.headers)
        code = _BY_STATUS.get(error.status_code, "request.not_acceptable")
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers |= _allow(request)
        return respond(request, Refused(code, "", status=error.status_code), error.status_code, headers)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        return respond(request, invalid(field_errors(error.errors(), language_of(request))), 422)

    @app.exception_handler(Fenced)
    async def on_fenced(request: Request, error: Fenced) -> Response:
        return respond(
            request, TryLater("server.busy", "Another worker has taken this over."), 503, {"Retry-After": "1"}
        )


def _allow(request: Request) -> dict[str, str]:
    """Every method of this path: the router only names those of the first route that it met."""
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    found = [methods for pattern, methods in request.app.state.allowed_methods() if pattern.match(path)]
    return {"Allow": found[0]} if found else {}


def shown_error(record: Mapping[str, Any] | None, language: Language) -> dict[str, Any] | None:
    """A recorded error (`ServiceError.record()`) as an answer holds it: `{code, message, hint, upstream?}`."""
    if record is None:
        return None
    code, message = str(record.get("code", "")), str(record.get("message", ""))
    texts = said(code, language, record.get("params") or {}, message, record.get("hint", ""))
    # Words that were written for one occasion say more than the general ones of their code.
    own = message if language == DEFAULT and "params" not in record else texts.detail
    shown: dict[str, Any] = {"code": code, "message": own, "hint": texts.hint}
    return shown | ({"upstream": record["upstream"]} if record.get("upstream") else {})
