"""Logging for people or machines, on stderr, without what must not be in it.

Nobody's message is trusted: an exception is logged by its types and places, because its words may hold a person's
data, a token in a URL or a database address; libraries that log URLs are heard from warnings on.
"""

import logging
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any, Final

import structlog
from structlog.typing import Processor

from app.settings import Settings

HIDDEN: Final = frozenset(
    {
        *("app_secret", "contacts_secret", "secret", "token", "encoding_aes_key", "access_token", "authorization"),
        *("password", "proxy", "mobile", "email", "biz_mail", "telephone", "name", "address", "avatar"),
    }
)
LOUD: Final = ("httpx", "httpcore", "uvicorn.access", "aiosqlite", "asyncio", "psycopg", "sqlalchemy")


def configure(settings: Settings) -> None:
    """Set up structlog and the standard library's logging for this process; uvicorn must be given no `log_config`."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        without_words,
        without_secrets,
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _renderer(settings)],
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in LOUD:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.getLogger("uvicorn.access").disabled = True


def anatomy(error: BaseException | None) -> dict[str, object]:
    """Types and places of an exception and of what caused it, without their words."""
    kinds: list[str] = []
    frames = traceback.extract_tb(error.__traceback__)[-12:] if error else []
    while error is not None and len(kinds) < 5:
        kinds.append(type(error).__name__)
        error = error.__cause__ or error.__context__
    return {"exception": kinds, "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]}


def without_words(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace `exc_info` by the anatomy of the exception."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    error = info[1] if isinstance(info, tuple) else info if isinstance(info, BaseException) else None
    record = event.get("_record")
    if record is not None:  # a library's record: its traceback is rendered from here too
        record.exc_info, record.exc_text = None, None
    if error is not None:
        event |= anatomy(error)
    return event


def without_secrets(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hide the values of fields whose name says that they are a secret or a person's."""
    for name in event.keys() & HIDDEN:
        event[name] = "***"
    return event


def _renderer(settings: Settings) -> Processor:
    if settings.log_format == "json":
        return structlog.processors.JSONRenderer()
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
