"""The `webhooks` of the OpenAPI document: what a webhook target posts, and what may be answered."""

from typing import Any, Final, get_args

from pydantic import BaseModel

from app.api.examples import EXAMPLES
from app.api.schemas.webhooks import BatchEvent, DepartmentEvent, PingEvent, RunEvent, TargetEvent, UserEvent

EVENTS: Final = (UserEvent, DepartmentEvent, RunEvent, TargetEvent, PingEvent, BatchEvent)
SUMMARIES: Final = {
    "user.created": "A person came, or was there when the target was added",
    "user.updated": "A person, or the departments that he is in, changed",
    "user.deactivated": "A person left",
    "user.reactivated": "A person came back",
    "user.deleted": "A person was erased",
    "department.created": "A department came, or was there when the target was added",
    "department.updated": "A department changed",
    "department.moved": "A department has another parent",
    "department.deleted": "A department is gone",
    "run.completed": "A run ended, `succeeded` or `partial`",
    "run.failed": "A run failed",
    "run.cancelled": "A run was cancelled",
    "run.rejected": "What a run withheld was rejected",
    "run.awaiting_approval": "A run withheld removals and waits for an approval",
    "target.suspended": "Another target of the source was given up",
    "ping": "A test event",
    "batch": "Several events in one request",
}
HEADERS: Final = {
    "webhook-id": "The same for every try of the same content: who has seen it may answer 200 and do nothing.",
    "webhook-timestamp": "Seconds since 1970 of this try; refuse one that is more than five minutes off.",
    "webhook-signature": "`v1,` and the HMAC-SHA256 in base64 of `id.timestamp.body`; two while a secret is changed.",
}
ANSWERS: Final = {
    "2XX": "Taken; an object's next event follows.",
    "410": "Send nothing more: the target is suspended.",
    "429": "Later: `Retry-After` is honoured. So are 408, 425, 502, 503 and 504.",
    "4XX": "Not taken. 401, 403, 404, 405 and redirects hold all events up; with others only this one is tried again.",
    "5XX": "Not taken; tried again, alone where a test event is taken.",
}


def described(ref: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(webhooks, schemas) of the document; `ref` is how a schema is referred to."""
    webhooks: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for model in EVENTS:
        schema = model.model_json_schema(ref_template=ref + "{model}", mode="serialization")
        schemas |= schema.pop("$defs", {}) | {model.__name__: schema}
        for kind in get_args(model.model_fields["type"].annotation):
            webhooks[kind] = {"post": _operation(kind, model, ref)}
    return webhooks, schemas


def _operation(kind: str, model: type[BaseModel], ref: str) -> dict[str, Any]:
    body = {"schema": {"$ref": ref + model.__name__}, "example": EXAMPLES[model.__name__] | {"type": kind}}
    return {
        "tags": ["Webhooks"],
        "summary": SUMMARIES[kind],
        "operationId": f"webhook_{kind.replace('.', '_')}",
        "parameters": [
            {"name": name, "in": "header", "required": True, "description": text, "schema": {"type": "string"}}
            for name, text in HEADERS.items()
        ],
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": {status: {"description": text} for status, text in ANSWERS.items()},
    }
