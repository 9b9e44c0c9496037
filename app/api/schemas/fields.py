"""Kinds of fields that several requests and answers share."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, model_validator
from pydantic_core import PydanticCustomError

LARGEST: Final = 2**63 - 1


def _storable(value: str) -> str:
    """NUL cannot be stored by PostgreSQL, half a surrogate pair by nobody."""
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise PydanticCustomError("unstorable", "must not hold NUL or half a surrogate pair")
    return value


Text = Annotated[str, AfterValidator(_storable)]
"""Text that both databases can hold."""

WeComId = Annotated[int, Field(ge=1, le=LARGEST)]
"""A department id of WeCom: a 64-bit integer."""


def _rfc3339(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


Time = Annotated[datetime, PlainSerializer(_rfc3339, return_type=str), Field(examples=["2026-05-04T08:30:00Z"])]
"""RFC 3339 in UTC."""

JsonObject = dict[str, Any]


def whole(value: Any) -> Any:
    """JSON knows one kind of number: 7.0 is the integer 7 (JSON Schema, section 6.1.1 of its validation part)."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: whole(item) for name, item in value.items()}
    return [whole(item) for item in value] if isinstance(value, list) else value


class Body(BaseModel):
    """A request body: what it does not know it refuses, and its errors never repeat what was sent."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _whole_numbers(cls, value: Any) -> Any:
        return whole(value)
