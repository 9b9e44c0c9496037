"""WeCom's callback cryptography, sending side (page 90968); shares no code with the service that receives it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

BLOCK = 32


def sign(token: str, timestamp: str, nonce: str, encrypted: str) -> str:
    """SHA-1 over the four parts sorted as text, in lower-case hex."""
    return hashlib.sha1("".join(sorted((token, timestamp, nonce, encrypted))).encode()).hexdigest()


def encrypt(aes_key: str, message: bytes, receiver: str, prefix: bytes | None = None) -> str:
    """Base64 of AES-256-CBC over prefix, length, message and receiver; `prefix`: 16 bytes, random by default."""
    plain = (prefix or os.urandom(16)) + len(message).to_bytes(4, "big") + message + receiver.encode()
    pad = BLOCK - len(plain) % BLOCK
    cipher = _cipher(aes_key).encryptor()
    return base64.b64encode(cipher.update(plain + bytes([pad]) * pad) + cipher.finalize()).decode()


def decrypt(aes_key: str, encrypted: str) -> tuple[bytes, str]:
    """The message and its receiver; raises ValueError when it was not made with this key."""
    try:
        cipher = _cipher(aes_key).decryptor()
        plain = cipher.update(base64.b64decode(encrypted, validate=True)) + cipher.finalize()
    except binascii.Error as error:
        raise ValueError("not base64") from error
    pad = plain[-1] if plain else 0
    body = plain[16:-pad] if 1 <= pad <= BLOCK and plain.endswith(bytes([pad]) * pad) else b""
    length = int.from_bytes(body[:4], "big")
    if len(body) < 4 + length or not body:
        raise ValueError("not encrypted with this key")
    return body[4 : 4 + length], body[4 + length :].decode()


def _cipher(aes_key: str) -> Cipher[modes.CBC]:
    key = base64.b64decode(aes_key + "=")
    return Cipher(algorithms.AES(key), modes.CBC(key[:16]))
