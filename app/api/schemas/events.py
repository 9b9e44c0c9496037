"""An event of the inbox as it is answered."""

from typing import Literal

from pydantic import BaseModel, Field

from app.api.language import Language
from app.api.problem import shown_error
from app.api.schemas.fields import Time
from app.api.schemas.runs import RunError
from app.store.pages import Incoming

EventState = Literal["pending", "applied", "ignored", "failed"]


class EventObject(BaseModel):
    """What the event says may have changed."""

    kind: Literal["user", "department", "tag", "everything", "none"]
    key: str
    new_key: str | None = Field(description="The userid after a rename.")


class EventOut(BaseModel):
    id: str
    source_id: str
    received_at: Time
    change_type: str
    object: EventObject
    state: EventState
    reason: str | None
    attempts: int
    next_attempt_at: Time | None
    error: RunError | None
    run_id: str | None
    applied_at: Time | None
    duplicates: int
    xml: str | None = Field(
        None, description="The decrypted message; only with `include=xml`, and only while it is kept."
    )


def event_out(event: Incoming, language: Language, *, xml: bool = False) -> EventOut:
    given = {name: getattr(event, name) for name in EventOut.model_fields if hasattr(event, name)}
    about = {"kind": event.kind, "key": event.key, "new_key": event.new_key}
    error = shown_error(event.error, language)
    return EventOut.model_validate({**given, "object": about, "error": error, "xml": event.payload if xml else None})
