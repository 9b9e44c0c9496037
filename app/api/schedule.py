"""Whether what was given as a schedule is one: five fields of cron that come due, in a time zone that exists."""

import re
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import CroniterError

from app.sync.schedule import next_time

FIVE_FIELDS: Final = r"^[0-9A-Za-z*/,#?-]+( [0-9A-Za-z*/,#?-]+){4}$"
NAMES: Final = re.compile(r"(?i)jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|mon|tue|wed|thu|fri|sat|sun|l")


def is_zone(name: str) -> bool:
    """Whether there is an IANA time zone of this name."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def comes_due(cron: str, timezone: str) -> bool:
    """Whether this is a cron expression with a next time; croniter's H and R are none, they choose times themselves."""
    words = re.findall(r"[A-Za-z]+", cron)
    if not re.fullmatch(FIVE_FIELDS, cron) or not all(NAMES.fullmatch(word) for word in words):
        return False
    try:
        next_time({"cron": cron, "timezone": timezone}, datetime.now(UTC))
    except (CroniterError, ValueError, KeyError):
        return False
    return True
