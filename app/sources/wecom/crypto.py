"""The cryptography of WeCom's callbacks (page 90968): signature, AES-256-CBC with 32-byte padding, fresh credentials.

Whatever is wrong with a message, `open_message` raises the same refusal, so that an answer tells a stranger nothing.
"""

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import string
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from app.core.ports import CallbackPair, CallbackRefused

BLOCK: Final = 32
"""Padding is PKCS#7 to 32 bytes, though the cipher's own block is 16."""

RANDOM: Final = 16
LENGTH: Final = 4
LETTERS_AND_DIGITS: Final = string.ascii_letters + string.digits
CANONICAL_LAST: Final = "AEIMQUYcgkosw048"
"""Last characters of a key whose two spare bits are zero, so that strict decoders take it too."""


def refused() -> CallbackRefused:
    """The one refusal for everything that is not authentic."""
    return CallbackRefused(403, "callback.refused")


def signature(token: str, timestamp: str, nonce: str, encrypted: str) -> str:
    """SHA-1 over the sorted parts, in lower-case hex. Lone surrogates in hostile input are hashed, not refused."""
    parts = "".join(sorted((token, timestamp, nonce, encrypted)))
    return hashlib.sha1(parts.encode("utf-8", "surrogatepass")).hexdigest()


def open_message(
    pairs: Sequence[CallbackPair], *, signed: str, timestamp: str, nonce: str, encrypted: str
) -> tuple[bytes, int]:
    """The decrypted message and the index of the pair that signed it; raises CallbackRefused(403).

    Two pairs may share a token (a rotation of the key alone): each pair whose signature fits is tried.
    """
    given = signed.encode("utf-8", "surrogatepass")
    for index, pair in enumerate(pairs):
        expected = signature(pair.token, timestamp, nonce, encrypted)
        if not hmac.compare_digest(expected.encode(), given):
            continue
        try:
            return decrypt(pair, encrypted), index
        except ValueError:
            continue
    raise refused()


def decrypt(pair: CallbackPair, encrypted: str) -> bytes:
    """The message inside one ciphertext. Raises ValueError for a wrong key, form, padding, length or receiver."""
    decryptor = _cipher(pair.encoding_aes_key).decryptor()
    padded = decryptor.update(_base64(encrypted)) + decryptor.finalize()
    content = _unpad(padded)[RANDOM:]
    end = LENGTH + int.from_bytes(content[:LENGTH], "big")
    if len(content) < end:
        raise ValueError("the message is shorter than it says")
    if content[end:] != pair.receiver.encode():
        raise ValueError("the message is for another receiver")
    return content[LENGTH:end]


def encrypt(pair: CallbackPair, message: bytes, *, random: bytes | None = None) -> str:
    """The ciphertext of a message, in base64; `random` is its first 16 bytes, drawn anew when not given."""
    head = os.urandom(RANDOM) if random is None else random
    content = head + len(message).to_bytes(LENGTH, "big") + message + pair.receiver.encode()
    pad = BLOCK - len(content) % BLOCK
    encryptor = _cipher(pair.encoding_aes_key).encryptor()
    return base64.b64encode(encryptor.update(content + bytes([pad]) * pad) + encryptor.finalize()).decode()


def fresh_pair(receiver: str) -> CallbackPair:
    """A new Token (32 letters and digits) and EncodingAESKey (43) for the callbacks of this receiver."""
    token = "".join(secrets.choice(LETTERS_AND_DIGITS) for _ in range(32))
    key = "".join(secrets.choice(LETTERS_AND_DIGITS) for _ in range(42)) + secrets.choice(CANONICAL_LAST)
    return CallbackPair(token, key, receiver)


@lru_cache(maxsize=256)
def _cipher(encoding_aes_key: str) -> Cipher[modes.CBC]:
    """AES-256-CBC; the two spare bits of the key's last character are dropped: people's keys rarely have them zero."""
    if len(encoding_aes_key) != 43:
        raise ValueError("an EncodingAESKey has 43 characters")
    key = base64.b64decode(encoding_aes_key + "=", validate=True)
    return Cipher(algorithms.AES(key), modes.CBC(key[:16]))


def _base64(text: str) -> bytes:
    """The standard alphabet with its padding, nothing else (RFC 4648 section 4); Python alone takes a `=` too many."""
    if len(text) % 4 or text.endswith("==="):
        raise ValueError("not base64")
    return binascii.a2b_base64(text, strict_mode=True)


def _unpad(padded: bytes) -> bytes:
    pad = padded[-1] if padded else 0
    if not 1 <= pad <= BLOCK or padded[-pad:] != bytes([pad]) * pad or len(padded) - pad < RANDOM + LENGTH:
        raise ValueError("the padding is wrong")
    return padded[:-pad]
