"""Points in time in the format of RFC 3339: texts of the same moment are equal, with any offsets. Pure.

Accepted: `2024-05-01T10:00:00+02:00`, `2024-05-01t08:00:00.25z`, and a space in place of the T (RFC 3339, 5.6). A date
alone, or a time without an offset, is refused, since it does not say which moment it is. `-00:00` counts as UTC. A leap
second (`23:59:60` UTC at the end of a month) counts as the first moment of the next day, as it does for most clocks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

LONGEST: Final = 64
_FORM: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,30}))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
_DAY: Final = 86_400
_DAYS_BEFORE_MONTH: Final = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)
_DAYS_OF_MONTH: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
# The days of the years 0 to 9999 of the Gregorian calendar.
_ALL_DAYS: Final = 3_652_425
# A text's own date lies within a day of the date in UTC; the second day allows for leap seconds.
_MARGIN_DAYS: Final = 2


@dataclass(frozen=True, slots=True, order=True)
class Instant:
    """A moment: seconds since the beginning of the year 0 in UTC, and the digits after the point, without zeros at the
    end.
    """

    seconds: int
    fraction: str = ""


def read_instant(text: str) -> Instant | None:
    """The moment of an RFC 3339 date-time, to 30 digits of a second; None for any other text."""
    if len(text) > LONGEST:
        return None
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(each) for each in found.groups()[:6])
    fraction, sign, offset_hours, offset_minutes = found.groups()[6:]
    if not (1 <= month <= 12 and 1 <= day <= _days_of(year, month) and hour < 24 and minute < 60 and second <= 60):
        return None
    seconds = _days_before(year, month, day) * _DAY + hour * 3600 + minute * 60 + second
    if sign is not None:
        if int(offset_hours) > 23 or int(offset_minutes) > 59:
            return None
        offset = int(offset_hours) * 3600 + int(offset_minutes) * 60
        seconds += -offset if sign == "+" else offset
    if second == 60 and not _begins_a_month(seconds):
        return None
    return Instant(seconds, (fraction or "").rstrip("0"))


def text_bounds(low: Instant | None, high: Instant | None) -> tuple[str, str]:
    """The range of texts that holds all date-times of moments from `low` to `high`: from the first text to before the
    second, by code points.
    """
    first = 0 if low is None else low.seconds // _DAY - _MARGIN_DAYS
    last = _ALL_DAYS if high is None else high.seconds // _DAY + _MARGIN_DAYS + 1
    # The character after "9" ends the last year.
    return _date(first) if first > 0 else "0", _date(last) if last < _ALL_DAYS else ":"


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _days_of(year: int, month: int) -> int:
    return _DAYS_OF_MONTH[month - 1] + (month == 2 and _is_leap(year))


def _days_before(year: int, month: int, day: int) -> int:
    """Days from the first of January of the year 0 to this one."""
    leap_days = (year + 3) // 4 - (year + 99) // 100 + (year + 399) // 400
    return year * 365 + leap_days + _DAYS_BEFORE_MONTH[month - 1] + (month > 2 and _is_leap(year)) + day - 1


def _begins_a_month(seconds: int) -> bool:
    return seconds % _DAY == 0 and _date(seconds // _DAY).endswith("-01")


def _date(days: int) -> str:
    """The date that many days after the first of January of the year 0."""
    year = days * 400 // 146_097
    while _days_before(year, 1, 1) > days:
        year -= 1
    while _days_before(year + 1, 1, 1) <= days:
        year += 1
    month = max(month for month in range(1, 13) if _days_before(year, month, 1) <= days)
    return f"{year:04d}-{month:02d}-{days - _days_before(year, month, 1) + 1:02d}"
