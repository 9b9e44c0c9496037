"""A stand-in for the software under test: an ASGI application that takes WeCom's callbacks."""

import asyncio
import re
from urllib.parse import unquote

from app.simulator import crypto

TOKEN = "hJqcu3uJ9Tn2gXPmxx2w9kkCkCE2EPYo"
AES_KEY = "6qkdMrq68nTKduznJYO1A37W2oEgpkMUvkttRToqhUt"


class Inbox:
    """Keeps what arrives; `answers` are the statuses to give, one per request, then 200."""

    def __init__(self, *, suffix=b"", answers=()):
        self.suffix = suffix
        self.answers = list(answers)
        self.requests = []
        self.messages = []
        self.arrival = asyncio.Condition()

    async def __call__(self, scope, receive, send):
        query = dict(pair.split("=", 1) for pair in scope["query_string"].decode().split("&"))
        query = {name: unquote(value) for name, value in query.items()}
        body = b""
        while (part := await receive())["type"] == "http.request":
            body += part.get("body", b"")
            if not part.get("more_body"):
                break
        self.requests.append((scope["method"], scope["query_string"].decode(), body))
        reply = self._echo(query) if scope["method"] == "GET" else await self._take(query, body)
        status = self.answers.pop(0) if self.answers else 200
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": reply})

    def _echo(self, query):
        assert self._signed(query, query["echostr"])
        return crypto.decrypt(AES_KEY, query["echostr"])[0] + self.suffix

    async def _take(self, query, body):
        encrypted = re.search(rb"<Encrypt><!\[CDATA\[(.*?)\]\]></Encrypt>", body)[1].decode()
        assert self._signed(query, encrypted)
        async with self.arrival:
            self.messages.append(crypto.decrypt(AES_KEY, encrypted)[0].decode())
            self.arrival.notify_all()
        return b"success"

    async def holds(self, count):
        """Wait until so many messages have come."""
        async with self.arrival:
            await self.arrival.wait_for(lambda: len(self.messages) >= count)

    @staticmethod
    def _signed(query, encrypted):
        return query["msg_signature"] == crypto.sign(TOKEN, query["timestamp"], query["nonce"], encrypted)
