"""Callback events as values. An event says which object may be stale, never what it now is."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

EventKind = Literal["user", "department", "tag", "everything", "none"]


class Event(NamedTuple):
    """One authentic callback, decrypted and read.

    `kind`/`key` name the stale object ("everything" asks for a full sync, "none" for nothing: the event is kept and
    ignored). `new_key` is the userid after a rename. `created` is WeCom's CreateTime, seconds. `expects` holds what the
    payload announces, to be compared with a read: {"absent": true}, {"present": true}, {"departments": [ids]} of a
    user, {"parent_id": id} of a department, {"users": [userids], "departments": [ids]} that came to or left a tag.
    `digest` is the SHA-256 of the decrypted XML, in hex; `payload` that XML.
    """

    change_type: str
    kind: EventKind
    key: str
    created: int
    digest: str
    payload: str
    new_key: str | None = None
    expects: Mapping[str, Any] = MappingProxyType({})
