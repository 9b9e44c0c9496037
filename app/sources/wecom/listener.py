"""WeCom's callbacks read into events (pages 90930, 90968 to 90972); pure, needs neither network nor API credentials."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple, NoReturn
from xml.parsers import expat

import xmltodict

from app.core.event import Event, EventKind
from app.core.ports import CallbackPair, CallbackRefused
from app.sources.wecom.crypto import open_message, refused
from app.sources.wecom.records import is_userid, whole_number

ENVELOPE_MARKS: Final = 64
MESSAGE_MARKS: Final = 20_000
"""How many `<` (and, for attributes, `=`) a document may hold: it bounds what a parser builds from a megabyte."""

DEEPEST: Final = 16
LONGEST_LABEL: Final = 64
YEAR_9999: Final = 253_402_300_799
IMPORTS: Final = ("sync_user", "replace_user", "invite_user", "replace_party")

Elements = Mapping[str, Any]
"""Child elements by lower-case name: text, None when empty, a list when repeated, a dict when there are more inside."""


class WeComListener:
    """The `Listener` of WeCom sources."""

    def verify(self, pairs: Sequence[CallbackPair], query: Mapping[str, str]) -> tuple[bytes, int]:
        """The decrypted echostr, byte for byte, and the index of the pair that signed it. Raises CallbackRefused."""
        return _opened(pairs, query, query.get("echostr"))

    def receive(self, pairs: Sequence[CallbackPair], query: Mapping[str, str], body: bytes) -> tuple[Event, int]:
        """The event of a POSTed envelope and the index of the pair that signed it. Raises CallbackRefused."""
        if not ("msg_signature" in query and "timestamp" in query and "nonce" in query):
            raise refused()
        encrypted = _elements(body, ENVELOPE_MARKS).get("encrypt")
        if not isinstance(encrypted, str):
            raise _not_envelope()
        message, index = _opened(pairs, query, encrypted)
        return read_event(message), index


def read_event(message: bytes) -> Event:
    """The event in a decrypted message, of whatever type; raises CallbackRefused(400) when it is not XML."""
    try:
        payload = message.decode()
    except UnicodeDecodeError:
        raise _not_envelope() from None
    elements = _elements(message, MESSAGE_MARKS)
    hint = _hint(elements)
    created = whole_number(elements.get("createtime")) or 0
    return Event(
        change_type=hint.change_type,
        kind=hint.kind,
        key=hint.key,
        created=created if created <= YEAR_9999 else 0,
        digest=hashlib.sha256(message).hexdigest(),
        payload=payload,
        new_key=hint.new_key,
        expects=hint.expects,
    )


def _not_envelope() -> CallbackRefused:
    return CallbackRefused(400, "callback.not_envelope")


def _opened(pairs: Sequence[CallbackPair], query: Mapping[str, str], encrypted: str | None) -> tuple[bytes, int]:
    if encrypted is None:
        raise refused()
    try:
        signed, timestamp, nonce = query["msg_signature"], query["timestamp"], query["nonce"]
    except KeyError:
        raise refused() from None
    return open_message(pairs, signed=signed, timestamp=timestamp, nonce=nonce, encrypted=encrypted)


# XML: a small document without DOCTYPE, entities or depth, or a refusal


class _Parser:
    """The expat parser that xmltodict is given: without DOCTYPE, so that no entity can be declared, and with attributes
    as the dict that expat makes anyway: xmltodict would ask for a list and turn it into a dict, element by element.
    """

    StartElementHandler: Any
    EndElementHandler: Any
    CharacterDataHandler: Any

    def __init__(self, encoding: str | None, _separator: str | None) -> None:
        self._encoding = encoding

    def Parse(self, document: bytes, final: bool) -> None:  # noqa: N802, RUF100
        parser = expat.ParserCreate(self._encoding)
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = _no_doctype
        parser.StartElementHandler = self.StartElementHandler
        parser.EndElementHandler = self.EndElementHandler
        parser.CharacterDataHandler = self.CharacterDataHandler
        parser.Parse(document, final)


class _Expat:
    ParserCreate = _Parser


def _no_doctype(*_: object) -> NoReturn:
    raise ValueError("a DOCTYPE is not taken")


def _not_deep(path: list[Any], name: str, value: Any) -> tuple[str, Any]:
    if len(path) > DEEPEST:
        raise ValueError("nested too deeply")
    return name, value


def _elements(document: bytes, marks: int) -> Elements:
    """The children of `<xml>`, read as UTF-8 whatever it declares; raises CallbackRefused(400) for anything else."""
    tags = document.count(b"<")
    if tags > marks or (len(document) > marks and document.count(b"=") > marks):
        raise _not_envelope()
    watch = _not_deep if tags > 2 * DEEPEST else None  # every level has an opening and a closing tag
    try:
        # Entities are off in our parser, whatever this call says.
        root = xmltodict.parse(
            document, "utf-8", _Expat, disable_entities=False, xml_attribs=False, postprocessor=watch
        )
    except (expat.ExpatError, ValueError):
        raise _not_envelope() from None
    children = root.get("xml")
    if not isinstance(children, dict):
        raise _not_envelope()
    return _fold(children)


def _fold(children: Mapping[str, Any]) -> Elements:
    folded: dict[str, Any] = {name.lower(): value for name, value in children.items()}
    if len(folded) == len(children):
        return folded
    names = Counter(map(str.lower, children))
    return folded | {name: [folded[name]] * times for name, times in names.items() if times > 1}


def _text(elements: Elements, name: str) -> str | None:
    """The text of an element that is there once and holds nothing else."""
    value = elements.get(name)
    return value if isinstance(value, str) else None


# What an event is about


class _Hint(NamedTuple):
    change_type: str
    kind: EventKind = "none"
    key: str = ""
    new_key: str | None = None
    expects: Mapping[str, Any] = MappingProxyType({})


def _hint(elements: Elements) -> _Hint:
    message_type = (_text(elements, "msgtype") or "unknown").lower()
    if message_type != "event":
        return _Hint(_label(message_type))
    event = (_text(elements, "event") or "unknown").lower()
    if event == "change_contact":
        change = (_text(elements, "changetype") or "unknown").lower()
        read = _CONTACT_CHANGES.get(change)
        return read(change, elements) if read else _Hint(_label(f"change_contact:{change}"))
    read = _OTHER_EVENTS.get(event)
    return read(event, elements) if read else _Hint(_label(f"event:{event}"))


def _label(text: str) -> str:
    return text[:LONGEST_LABEL] if text.isprintable() else "unknown"


def _user(change: str, elements: Elements) -> _Hint:
    """The departments announced are only those that the receiver may see."""
    userid, new = _text(elements, "userid"), elements.get("newuserid")
    if not is_userid(userid) or not (new is None or is_userid(new)):
        return _Hint(change)
    if change == "delete_user":
        return _Hint(change, "user", userid, expects={"absent": True})
    expects: dict[str, Any] = {"present": True} if change == "create_user" else {}
    departments = _department_ids(_text(elements, "department"))
    if departments:
        expects["departments"] = departments
    return _Hint(change, "user", userid, new, expects)


def _department_ids(text: str | None) -> list[int]:
    """The ids in "1,2,3", sorted; none at all when one of them is not an id."""
    ids = [whole_number(part.strip()) for part in (text or "").split(",")]
    known = {number for number in ids if number}
    return sorted(known) if all(ids) else []


def _department(change: str, elements: Elements) -> _Hint:
    number, parent = whole_number(_text(elements, "id")), whole_number(_text(elements, "parentid"))
    if not number:
        return _Hint(change)
    if change == "delete_party":
        return _Hint(change, "department", str(number), expects={"absent": True})
    expects: dict[str, Any] = {"present": True} if change == "create_party" else {}
    if parent:
        expects["parent_id"] = parent
    return _Hint(change, "department", str(number), expects=expects)


def _tag(change: str, elements: Elements) -> _Hint:
    """Who and what came or went is kept: whoever left the tag can no longer be found by reading it."""
    number = whole_number(_text(elements, "tagid"))
    if not number:
        return _Hint(change)
    people = [_text(elements, name) or "" for name in ("adduseritems", "deluseritems")]
    users = [part.strip() for text in people for part in text.split(",") if is_userid(part.strip())]
    places = [_department_ids(_text(elements, name)) for name in ("addpartyitems", "delpartyitems")]
    return _Hint(change, "tag", str(number), expects={"users": users, "departments": [*places[0], *places[1]]})


def _range_member(event: str, elements: Elements) -> _Hint:
    """A member entered or left the range of an app: he is the sender of the event."""
    userid = _text(elements, "fromusername")
    if not is_userid(userid):
        return _Hint(event)
    return _Hint(event, "user", userid, expects={"present": True} if event == "subscribe" else {})


def _batch_job(event: str, elements: Elements) -> _Hint:
    job = elements.get("batchjob")
    job_type = _text(_fold(job), "jobtype") if isinstance(job, dict) else None
    return _Hint(event, "everything") if job_type in IMPORTS else _Hint(event)


_Reading = Callable[[str, Elements], _Hint]
_CONTACT_CHANGES: Final[Mapping[str, _Reading]] = {
    "create_user": _user,
    "update_user": _user,
    "delete_user": _user,
    "create_party": _department,
    "update_party": _department,
    "delete_party": _department,
    "update_tag": _tag,
}
_OTHER_EVENTS: Final[Mapping[str, _Reading]] = {
    "subscribe": _range_member,
    "unsubscribe": _range_member,
    "batch_job_result": _batch_job,
}
