"""The log: one event a line on stderr, for people or as JSON, without secrets and without people's data."""

import logging
import os
import re
import sys
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor

HIDDEN: Final = "***"

_NAMES: Final = re.compile(
    r"secret|token|passw|authorization|api_?key|aes_?key|encryption|signature|cookie|echostr"
    r"|mobile|phone|mail|address|avatar|xml|payload",
    re.IGNORECASE,
)
"""Names of values that are never written, whatever they hold."""

_PATTERNS: Final = (
    (re.compile(r"://[^/\s@'\"]+@"), f"://{HIDDEN}@"),  # user and password in an address
    (re.compile(r"(\w://[^\s?'\"]*)\?[^\s'\"]*"), rf"\1?{HIDDEN}"),  # WeCom's access token travels in the query
    (re.compile(r"(?i)\b(\w*(?:token|secret|signature|echostr|passwo?r?d|key))=[^&\s'\",)]+"), rf"\1={HIDDEN}"),
    (re.compile(r"(?i)\bbearer\s+[^\s'\"]+"), f"Bearer {HIDDEN}"),
    (re.compile(r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)+"), HIDDEN),
    (re.compile(r"(?<![\w-])(?:(?:\+|00)?86[ -]?)?1[3-9]\d{9}(?!\w)"), HIDDEN),  # a mobile number of the mainland
    (re.compile(r"(?<!\w)\+\d{8,15}(?!\w)"), HIDDEN),
)


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what stderr is at that moment: a progress bar may have put itself in front of it."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def configure(level: Literal["debug", "info", "warning", "error"], form: Literal["json", "console"]) -> None:
    """Send the log of this process to stderr. Our own loggers and the server's speak from `level` on, all others only
    from warnings on: at lower levels HTTP clients and database drivers tell addresses, queries and values."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        anatomy,
        redact,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    strip = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler = _Stderr()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[strip, _renderer(form)])
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in ("app", "uvicorn.error"):
        logging.getLogger(name).setLevel(level.upper())
    logging.getLogger("uvicorn.access").disabled = True  # it would tell queries


def anatomy(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """An exception as its classes, codes and places in the code. Values of variables are left out, and so are messages:
    a database driver quotes the row that it refuses."""
    info = event.pop("exc_info", None)
    error = sys.exc_info()[1] if info is True else info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event["exception"] = "\n".join(_lines(error))
    return event


def redact(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Hide values by their names, and whatever looks like a secret, a mobile number or a mail address in the others."""
    return {name: value if name == "_record" else _redacted(name, value) for name, value in event.items()}


def clean(text: str) -> str:
    """`text` without what looks like a secret, a mobile number or a mail address."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def _redacted(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if _NAMES.search(name):
        return HIDDEN
    if isinstance(value, Mapping):
        return {key: _redacted(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redacted("", item) for item in value]
    return clean(value if isinstance(value, str) else str(value))


def _lines(error: BaseException) -> list[str]:
    code = getattr(error, "code", None)
    said = f" ({code})" if isinstance(code, str) else ""
    below = [error.__cause__ or (None if error.__suppress_context__ else error.__context__)]
    below += error.exceptions if isinstance(error, BaseExceptionGroup) else []
    lines = [f"{type(error).__module__}.{type(error).__qualname__}{said}", *_places(error.__traceback__)]
    return [*lines, *(f"  from {line}" for one in below if one is not None for line in _lines(one))]


def _places(trace: TracebackType | None) -> list[str]:
    return [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in traceback.extract_tb(trace)]


def _renderer(form: str) -> Processor:
    if form == "json":
        return structlog.processors.JSONRenderer(ensure_ascii=False)
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty() and not os.environ.get("NO_COLOR"))
