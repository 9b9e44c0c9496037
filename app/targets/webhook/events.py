"""Events as a receiver sees them: the type, the object as it is now, and what it was before; pure.

Standard Webhooks 1.0 for the envelope and its signature, CloudEvents 1.0 as the other envelope.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

from app.core.fingerprint import digest_of
from app.core.outgoing import Origin, Outgoing

Format = Literal["standard", "cloudevents"]
Event = dict[str, Any]

UNSTABLE: Final = frozenset({"observed_at", "updated_at", "member_count"})
"""What changes without a change of the object that a receiver wants to hear of."""
INTERNAL: Final = frozenset({"parent", "depth"})
RUN_TYPES: Final = {
    "succeeded": "run.completed",
    "partial": "run.completed",
    "failed": "run.failed",
    "cancelled": "run.cancelled",
    "rejected": "run.rejected",
    "awaiting_approval": "run.awaiting_approval",
}
MEDIA_TYPES: Final = {
    ("standard", False): "application/json",
    ("standard", True): "application/json",
    ("cloudevents", False): "application/cloudevents+json",
    ("cloudevents", True): "application/cloudevents-batch+json",
}


def record_of(item: Outgoing) -> Mapping[str, object] | None:
    """What a receiver knows once it has taken the event; None of an object that is gone."""
    if not item.value.get("active", True):
        return None
    return {name: value for name, value in shown(item.value).items() if name not in UNSTABLE}


def type_of(item: Outgoing) -> str:
    """The type of the event that tells of an object."""
    if item.kind == "run":
        return RUN_TYPES[item.value["state"]]
    if item.kind == "target":
        return "target.suspended"
    return f"{item.kind}.{_what(item)}"


def _what(item: Outgoing) -> str:
    user = item.kind == "user"
    if not item.value.get("active"):
        return "deactivated" if user and "userid" in item.value else "deleted"
    if item.link is None or not item.link.present:
        return "reactivated" if user and item.link else "created"
    return "moved" if not user and "parent_id" in item.previous else "updated"


def event_of(item: Outgoing, origin: Origin) -> Event:
    """One event. Its id is the same when the same is sent again, and another one as soon as the object is another."""
    kind, object_ = type_of(item), shown(item.value)
    told = [item.delivery_id, kind, item.sequence, digest_of(record_of(item) or {})]
    data = {"object": object_, "previous": dict(item.previous), "sequence": item.sequence, "source": _source(origin)}
    return {
        "id": "msg_" + hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32],
        "type": kind,
        "timestamp": _text(item.at),
        "data": data,
    }


def ping(origin: Origin, id: str, at: datetime) -> Event:
    """A test event, of no object."""
    return {"id": id, "type": "ping", "timestamp": _text(at), "data": {"source": _source(origin)}}


def shown(value: Mapping[str, Any]) -> dict[str, Any]:
    """An object as the REST API answers it."""
    own = {name: item for name, item in value.items() if name not in INTERNAL}
    if "departments" in own:
        own["departments"] = [{n: v for n, v in seat.items() if n != "id"} for seat in own["departments"]]
    return own


def enveloped(events: Sequence[Event], form: Format, batched: bool) -> tuple[str, str, str]:
    """(webhook-id, media type, body) of one request."""
    written = [_cloud_event(event) for event in events] if form == "cloudevents" else list(events)
    media_type = MEDIA_TYPES[form, batched]
    if not batched:
        return events[0]["id"], media_type, _json(written[0])
    ids = "\n".join(event["id"] for event in events)
    id_ = "msg_" + hashlib.sha256(ids.encode()).hexdigest()[:32]
    if form == "cloudevents":
        return id_, media_type, _json(written)
    newest = max(event["timestamp"] for event in events)
    return id_, media_type, _json({"id": id_, "type": "batch", "timestamp": newest, "data": written})


def _cloud_event(event: Event) -> Event:
    data = event["data"]
    own = {
        "specversion": "1.0",
        "id": event["id"],
        "source": f"/api/v1/sources/{data['source']['id']}",
        "type": event["type"],
        "time": event["timestamp"],
        "datacontenttype": "application/json",
        "data": data,
    }
    return own | ({"subject": data["object"]["id"]} if "object" in data else {})


def _source(origin: Origin) -> dict[str, str]:
    return {"id": origin.source_id, "corp_id": origin.corp_id}


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
