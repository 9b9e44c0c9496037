"""Lists in pages: an opaque cursor stands for the sort key of the last item (RFC 8288 for the `Link` header)."""

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Annotated, Final, Generic, TypeVar

from fastapi import Query, Request, Response
from pydantic import BaseModel, Field

from app.api.schemas.fields import Text
from app.errors import Refused

Item = TypeVar("Item")
Key = TypeVar("Key", str, int)
LARGEST: Final = 2**63 - 1

Limit = Annotated[int, Query(ge=1, le=500, description="Items of one page.", examples=[50])]
Cursor = Annotated[
    Text | None, Query(max_length=500, description="`next_cursor` of the page before; left out for the first page.")
]


class Page(BaseModel, Generic[Item]):
    """One page of a list."""

    items: list[Item]
    next_cursor: str | None = Field(description="Cursor of the next page; null on the last one.", examples=[None])


def encode(name: str, key: str | int) -> str:
    """The cursor of the list `name` after the item with this sort key."""
    return base64.urlsafe_b64encode(json.dumps([name, key], separators=(",", ":")).encode()).decode().rstrip("=")


def decode(name: str, cursor: str | None, kind: type[Key]) -> Key | None:
    """The sort key in a cursor of the list `name`; Refused 400 `cursor.invalid` for anything that we did not make."""
    if cursor is None:
        return None
    try:
        found, key = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise _invalid() from None
    whole = isinstance(key, int) and not isinstance(key, bool) and 0 <= key <= LARGEST
    text = isinstance(key, str) and key.isascii() and key.isprintable()
    if found != name or not (whole if kind is int else text):
        raise _invalid()
    return key  # type: ignore[no-any-return]


def paged(
    request: Request, response: Response, name: str, found: Sequence[tuple[str | int, Item]], limit: int
) -> Page[Item]:
    """The page of `limit` items out of `found`, which holds one more when there is a next page."""
    items = [item for _, item in found[:limit]]
    if len(found) <= limit:
        return Page(items=items, next_cursor=None)
    cursor = encode(name, found[limit - 1][0])
    response.headers["Link"] = next_link(request, cursor=cursor)
    return Page(items=items, next_cursor=cursor)


def next_link(request: Request, **query: str | int) -> str:
    """A `Link` header to this request's list with these query parameters replaced."""
    url = request.url.include_query_params(**query)
    return f'<{url.path}?{url.query}>; rel="next"'


def _invalid() -> Refused:
    return Refused("cursor.invalid", "The cursor is not one that this list gave out.", status=400)
