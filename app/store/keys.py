"""The administrator's token and the keys that seal secrets: given by the settings, or made on the first start."""

import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from app.errors import AskAdmin
from app.settings import PREFIX, Settings, SettingsError


class Sealer:
    """Seals with the first Fernet key and opens with any of them."""

    def __init__(self, keys: list[str]) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    def seal(self, plain: bytes) -> bytes:
        return self._fernet.encrypt(plain)

    def open(self, sealed: bytes) -> bytes:
        """Raises AskAdmin when none of the keys sealed this."""
        with _readable():
            return self._fernet.decrypt(sealed)

    def reseal(self, sealed: bytes) -> bytes:
        """The same secret under the first key."""
        with _readable():
            return self._fernet.rotate(sealed)

    def seal_json(self, value: object) -> bytes:
        return self.seal(json.dumps(value, ensure_ascii=False).encode())

    def open_json(self, sealed: bytes) -> Any:
        return json.loads(self.open(sealed))


@dataclass(frozen=True, slots=True)
class Keys:
    """`made` are the files that did not exist before; a file is None where the settings gave the value."""

    admin_token: str = field(repr=False)
    sealer: Sealer = field(repr=False)
    admin_token_file: Path | None
    encryption_keys_file: Path | None
    made: tuple[Path, ...]


def load_keys(settings: Settings) -> Keys:
    """Read the admin token and the encryption keys, making the missing ones (0600, in DATA_DIR).

    Raises SettingsError when one cannot be used.
    """
    _make_folder(settings.data_dir)
    token, token_file, token_made = _given_or_kept(
        _clear(settings.admin_token),
        settings.data_dir / "admin-token",
        lambda: secrets.token_urlsafe(32),
    )
    keys, keys_file, keys_made = _given_or_kept(
        _clear(settings.encryption_keys),
        settings.data_dir / "encryption-keys",
        lambda: Fernet.generate_key().decode(),
    )
    made = tuple(path for path in (token_made, keys_made) if path)
    return Keys(_usable_token(token, token_file), _sealer(keys, keys_file), token_file, keys_file, made)


def write_private(path: Path, text: str) -> bool:
    """Make a file with mode 0600 that appears whole or not at all; False when it already exists."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


def _given_or_kept(given: str | None, path: Path, make: Callable[[], str]) -> tuple[str, Path | None, Path | None]:
    """The value, the file it is kept in, and that file once more if it was made just now."""
    if given:
        return given, None, None
    try:
        made = not path.exists() and write_private(path, make() + "\n")
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
        return path.read_text().strip(), path, path if made else None
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable("DATA_DIR", f"{path} cannot be read or made ({_reason(error)})", "Correct its owner.") from None


def _clear(given: SecretStr | None) -> str | None:
    return given.get_secret_value() if given else None


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable("DATA_DIR", f"{folder} cannot be made ({_reason(error)})", "Name another folder.") from None


def _usable_token(token: str, path: Path | None) -> str:
    if token and token.isascii() and token.isprintable() and " " not in token:
        return token
    remedy = f"Remove {path}: a new one is made." if path else "Remove the line: one is made and kept in DATA_DIR."
    raise _unusable("ADMIN_TOKEN", "a token is printable ASCII without spaces", remedy)


def _sealer(keys: str, path: Path | None) -> Sealer:
    listed = [key.strip() for key in keys.replace("\n", ",").split(",") if key.strip()]
    try:
        return Sealer(listed) if listed else _no_key()
    except ValueError:
        where = f" in {path}" if path else ""
        remedy = "Restore the file from a backup: what it sealed cannot be opened without it." if path else _HOW_TO_MAKE
        problem = f"each key{where} is 32 bytes in URL-safe base64 (44 characters)"
        raise _unusable("ENCRYPTION_KEYS", problem, remedy) from None


_HOW_TO_MAKE = "A new key: python -c 'import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())'"


def _no_key() -> Sealer:
    raise ValueError("no key")


def _unusable(name: str, problem: str, remedy: str) -> SettingsError:
    return SettingsError(f"The setting {PREFIX}{name} cannot be used:\n  {problem}.\n{remedy}")


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or "not readable" if isinstance(error, OSError) else "not a text"


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except InvalidToken:
        raise AskAdmin(
            "keys.cannot_open",
            "a stored secret was sealed with a key that is not among the encryption keys",
            f"Add the former key to {PREFIX}ENCRYPTION_KEYS, or enter the secret again.",
        ) from None
