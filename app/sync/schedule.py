"""When a source is due: cron in its own time zone, by default once a night at a minute that is its own."""

import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from croniter import croniter

TIMEZONE: Final = "Asia/Shanghai"
NIGHT_HOURS: Final = 5


def nightly(corp_id: str) -> dict[str, str]:
    """The schedule of a source that was given none: a stable pseudo-random minute between 00:00 and 04:59."""
    minute = zlib.crc32(corp_id.encode()) % (NIGHT_HOURS * 60)
    return {"cron": f"{minute % 60} {minute // 60} * * *", "timezone": TIMEZONE}


def next_time(schedule: Mapping[str, Any], after: datetime) -> datetime:
    """The first time (UTC) after `after` that a schedule names; a time that daylight saving skips or repeats is one."""
    local = after.astimezone(ZoneInfo(schedule["timezone"]))
    found: datetime = croniter(schedule["cron"], local).get_next(datetime)
    while found <= after:
        found = croniter(schedule["cron"], found).get_next(datetime)
    return found.astimezone(UTC)
