"""Somebody else's webhook endpoint: verifies every request with the library that the specification names, keeps what
it takes, and answers as it is told."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

SECRET = "whsec_" + "d2VjYW5hcnktc2VjcmV0LW9mLWEtcmVjZWl2ZXIhIQ=="

Answer = Response | int | None


@dataclass
class Receiver:
    """`answer` is asked for each verified event, or batch; None takes it. `seen` holds all that came, `taken` what was
    taken, events of batches one by one."""

    secret: str = SECRET
    answer: Callable[[Mapping[str, Any]], Answer] = lambda event: None
    seen: list[Mapping[str, Any]] = field(default_factory=list)
    taken: list[Mapping[str, Any]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)

    @property
    def app(self) -> Starlette:
        return Starlette(routes=[Route("/hook", self._post, methods=["POST"])])

    async def _post(self, request: Request) -> Response:
        try:
            body = Webhook(self.secret).verify(await request.body(), dict(request.headers))
        except WebhookVerificationError:
            return Response(status_code=400)
        self.seen.append(body)
        self.headers.append(dict(request.headers))
        answer = self.answer(body)
        if isinstance(answer, Response):
            return answer
        if answer is None:
            self.taken += body if isinstance(body, list) else body["data"] if body.get("type") == "batch" else [body]
        return Response(status_code=answer or 204)

    @property
    def types(self) -> list[str]:
        """The types of what was taken."""
        return [event["type"] for event in self.taken]

    def object(self, id: str) -> Mapping[str, Any]:
        """An object as the newest event about it says: a receiver that follows `sequence`."""
        found = [event["data"] for event in self.taken if event["data"].get("object", {}).get("id") == id]
        newest: Mapping[str, Any] = max(found, key=lambda data: data["sequence"])["object"]
        return newest
