"""Conditions on moments in OpenSearch: a range of texts gives the candidates, a script reads each. Pure.

Moments are not indexed; their texts are, like those of all tags, so that an index of any age answers. The script
follows the rules of `executors.index.instants`, and a test compares the two.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from executors.index.filters import In, Range
from executors.index.instants import LONGEST, Instant, text_bounds
from executors.index.opensearch.documents.tag_fields import field_of, value_term

Query: TypeAlias = dict[str, Any]

_SCRIPT: Final = """
int number(String text, int from, int to) {
  int value = 0;
  for (int i = from; i < to; i++) {
    int digit = (int) text.charAt(i) - 48;
    if (digit < 0 || digit > 9) { return -1; }
    value = value * 10 + digit;
  }
  return value;
}
List read(String text) {
  int size = text.length();
  if (size < 20) { return null; }
  int year = number(text, 0, 4), month = number(text, 5, 7), day = number(text, 8, 10);
  int hour = number(text, 11, 13), minute = number(text, 14, 16), second = number(text, 17, 19);
  if (year < 0 || month < 1 || month > 12 || day < 1 || hour < 0 || hour > 23 || minute < 0 || minute > 59) { return null; }
  if (second < 0 || second > 60) { return null; }
  String marks = text.substring(4, 5) + text.substring(7, 8) + text.substring(13, 14) + text.substring(16, 17);
  if (marks.equals("--::") == false || "Tt ".indexOf(text.substring(10, 11)) < 0) { return null; }
  boolean leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
  int length = month == 2 ? (leap ? 29 : 28) : (month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31);
  if (day > length) { return null; }
  int end = 19;
  String fraction = "";
  if (text.substring(19, 20).equals(".")) {
    end = 20;
    while (end < size && number(text, end, end + 1) >= 0) { end++; }
    if (end == 20 || end > 50) { return null; }
    int last = end;
    while (last > 20 && number(text, last - 1, last) == 0) { last--; }
    fraction = text.substring(20, last);
  }
  long offset = 0;
  if (end + 1 == size) {
    if ("Zz".indexOf(text.substring(end)) < 0) { return null; }
  } else {
    if (end + 6 != size || text.substring(end + 3, end + 4).equals(":") == false) { return null; }
    int hours = number(text, end + 1, end + 3), minutes = number(text, end + 4, end + 6);
    int side = "-+".indexOf(text.substring(end, end + 1));
    if (side < 0 || hours < 0 || hours > 23 || minutes < 0 || minutes > 59) { return null; }
    offset = (hours * 3600 + minutes * 60) * (side * 2 - 1);
  }
  long days = LocalDate.of(year, month, day).toEpochDay() + 719528L;
  long seconds = days * 86400L + hour * 3600 + minute * 60 + second - offset;
  if (second == 60) {
    if (seconds % 86400L != 0L) { return null; }
    if (LocalDate.ofEpochDay(seconds / 86400L - 719528L).getDayOfMonth() != 1) { return null; }
  }
  return [seconds, fraction];
}
int compare(List moment, List bound) {
  long one = ((Number) moment[0]).longValue(), other = ((Number) bound[0]).longValue();
  if (one != other) { return one < other ? -1 : 1; }
  return ((String) moment[1]).compareTo((String) bound[1]);
}
if (!doc.containsKey(params.field)) { return false; }
for (String term : doc[params.field]) {
  if (!term.startsWith(params.prefix) || term.length() - params.prefix.length() > params.longest) { continue; }
  List moment = read(term.substring(params.prefix.length()));
  if (moment == null) { continue; }
  for (List wanted : params.ranges) {
    int low = wanted[0] == null ? 1 : compare(moment, wanted[0]);
    int high = wanted[2] == null ? -1 : compare(moment, wanted[2]);
    if ((low > 0 || (low == 0 && wanted[1])) && (high < 0 || (high == 0 && wanted[3]))) { return true; }
  }
}
return false;
"""


def instant_queries(where: In | Range) -> list[Query]:
    """The alternative queries for a condition on moments, at least one of which must hold; none if it has no moments."""
    if isinstance(where, In):
        wanted = sorted(set(where.instants))
        ranges = [[_bound(each), True, _bound(each), True] for each in wanted]
        low, high = (wanted[0], wanted[-1]) if wanted else (None, None)
    else:
        low, high = (each if isinstance(each, Instant) else None for each in (where.low, where.high))
        ranges = [[_bound(low), where.low_inclusive, _bound(high), where.high_inclusive]]
    if low is None and high is None:
        return []
    first, after = text_bounds(low, high)
    path = where.path
    terms = {"gte": value_term(path, first), "lt": value_term(path, after)}
    queries = [_candidates("t", terms, value_term(path, ""), ranges)]
    name = field_of(path, "string")
    if name:
        queries.append(_candidates(name, {"gte": first, "lt": after}, "", ranges))
    return queries


def _candidates(field: str, texts: Query, prefix: str, ranges: list[list[Any]]) -> Query:
    params = {"field": field, "prefix": prefix, "ranges": ranges, "longest": LONGEST}
    script = {"script": {"script": {"lang": "painless", "source": _SCRIPT, "params": params}}}
    return {"bool": {"filter": [{"range": {field: texts}}, script]}}


def _bound(instant: Instant | None) -> list[Any] | None:
    return None if instant is None else [instant.seconds, instant.fraction]
