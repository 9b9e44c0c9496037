"""What WeCom's errcodes mean for a service that reads (page 90313): who acts next, and the words for it; pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Text:
    """A title (what happened) and a hint (what to do), with placeholders in braces that the error's `params` fill."""

    title: str
    hint: str


TEXTS: Final[Mapping[str, Mapping[str, Text]]] = {}
