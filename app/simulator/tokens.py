"""Access tokens: one per secret until it expires (page 91039), and ways to end one early."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from app.simulator.permissions import Credential
from app.simulator.settings import Clock, SimulatorSettings


@dataclass(slots=True)
class Token:
    """A token given out; `until` in seconds of the clock."""

    value: str = field(repr=False)
    credential: Credential
    secret: str = field(repr=False)
    until: float
    valid: bool = True


class Tokens:
    """Every token ever given out, so that an old one is told from a made-up one."""

    def __init__(self, clock: Clock, settings: SimulatorSettings) -> None:
        self._clock, self._settings = clock, settings
        self._all: dict[str, Token] = {}
        self._current: dict[str, Token] = {}

    def issue(self, credential: Credential) -> tuple[str, int]:
        """The credential's token and the seconds it has left; a new one only if the old one no longer works."""
        now = self._clock.now()
        token = self._current.get(credential.name)
        if token is None or self._settings.rotate_tokens or self.refusal(token.value):
            token = Token(secrets.token_urlsafe(64), credential, credential.secret, now + self._settings.token_seconds)
            self._all[token.value] = self._current[credential.name] = token
        return token.value, max(1, int(token.until - now))

    def holder(self, value: str) -> Credential:
        """Whose token it is; ask `refusal` first."""
        return self._all[value].credential

    def refusal(self, value: str) -> int:
        """0, or 41001 (none given), 40014 (unknown, invalidated, secret changed), 42001 (expired)."""
        if not value:
            return 41001
        token = self._all.get(value)
        if token is None or not token.valid or token.secret != token.credential.secret:
            return 40014
        return 42001 if token.until <= self._clock.now() else 0

    def expire(self, credential: Credential | None = None) -> None:
        """From now on the tokens of this credential, or of all, answer 42001."""
        for token in self._of(credential):
            token.until = min(token.until, self._clock.now())

    def invalidate(self, credential: Credential | None = None) -> None:
        """From now on the tokens of this credential, or of all, answer 40014."""
        for token in self._of(credential):
            token.valid = False

    def _of(self, credential: Credential | None) -> list[Token]:
        return [token for token in self._all.values() if credential is None or token.credential is credential]
