"""Our ids: a prefix that names the noun, then 26 characters that sort by time."""

import secrets
import threading
import time
from typing import Final

ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"

_turn = threading.Lock()
_last = 0


def new_id(prefix: str) -> str:
    """`prefix` + "_" + 48 bits of milliseconds and 80 random bits in base 32; grows strictly within a process."""
    global _last
    with _turn:
        moment = time.time_ns() // 1_000_000
        _last = max((moment << 80) | secrets.randbits(80), _last + 1)
        value = _last
    return f"{prefix}_" + "".join(ALPHABET[(value >> shift) & 31] for shift in range(125, -1, -5))
