"""The Token/AESKey pairs of a source, as they lie in its sealed secrets; pure.

Its own pair is `token` and `encoding_aes_key`, further receivers are `extra_callback_pairs`. A rotation moves the own
pair to `previous_pairs`, where it works on: until the new pair has verified its first request, and the overlap after.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from app.core.ports import CallbackPair

PREVIOUS: Final = "previous_pairs"
MOST_PREVIOUS: Final = 4

Secrets = Mapping[str, Any]


def pairs_of(secrets: Secrets, receiver: str, at: datetime) -> tuple[tuple[CallbackPair, ...], int | None]:
    """Every pair that may sign now, the own first; and the index of the one whose first request is awaited."""
    previous = _working(secrets, at)
    listed = [*_own(secrets), *previous, *(secrets.get("extra_callback_pairs") or ())]
    pairs = tuple(CallbackPair(pair["token"], pair["encoding_aes_key"], receiver) for pair in listed)
    awaited = 0 if _own(secrets) and any(pair["retire_at"] is None for pair in previous) else None
    return pairs, awaited


def rotated(secrets: Secrets, fresh: CallbackPair, overlap_seconds: float, at: datetime) -> dict[str, Any]:
    """`fresh` becomes the own pair, the one before works on for now."""
    leaving = [{**pair, "overlap": overlap_seconds, "retire_at": None} for pair in _own(secrets)]
    previous = [*leaving, *_working(secrets, at)][:MOST_PREVIOUS]
    return {**secrets, "token": fresh.token, "encoding_aes_key": fresh.encoding_aes_key, PREVIOUS: previous}


def proven(secrets: Secrets, pair: CallbackPair, at: datetime) -> dict[str, Any] | None:
    """The secrets after the own pair verified its first request: the grace of the others begins; None: nothing new."""
    previous = _working(secrets, at)
    own = {"token": pair.token, "encoding_aes_key": pair.encoding_aes_key}
    if own not in _own(secrets) or all(item["retire_at"] for item in previous):
        return None
    return {**secrets, PREVIOUS: [_retiring(item, at) for item in previous]}


def _own(secrets: Secrets) -> list[dict[str, Any]]:
    pair = {"token": secrets.get("token"), "encoding_aes_key": secrets.get("encoding_aes_key")}
    return [pair] if all(pair.values()) else []


def _working(secrets: Secrets, at: datetime) -> list[dict[str, Any]]:
    if not _own(secrets):
        return []
    return [
        pair
        for pair in secrets.get(PREVIOUS) or ()
        if pair["retire_at"] is None or datetime.fromisoformat(pair["retire_at"]) > at
    ]


def _retiring(pair: dict[str, Any], at: datetime) -> dict[str, Any]:
    return pair if pair["retire_at"] else {**pair, "retire_at": (at + timedelta(seconds=pair["overlap"])).isoformat()}
