"""The file of keys: TOML, which people may edit. It holds hashes and no secrets.

[keys.shop]
sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
role = "search"
collections = ["images"]
created = 2026-12-01T12:00:00Z
requests_per_second = 20
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from executors.document_values import is_collection_name
from executors.errors import VisualSearchError
from executors.files.reading import read_text
from executors.keys.key import ROLES, Key
from executors.keys.limits import REQUESTS_PER_SECOND, Limits

_MOST_BYTES: Final = 1_000_000
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_LIMITS: Final = tuple(each.name for each in fields(Limits))
_FIELDS: Final = ("sha256", "role", "collections", "created", *_LIMITS)
_MODE: Final = 0o600
_MOST: Final = 1e18


def read_keys(file: Path) -> dict[str, Key]:
    """Read the keys, by name.

    Raises:
        VisualSearchError: `unreadable_file`; `invalid_keys`, with the place in the file.
    """
    return parse_keys(_text_of(file))


def parse_keys(text: str) -> dict[str, Key]:
    """Read the text of a file of keys.

    Raises:
        VisualSearchError: `invalid_keys`, with the place in the file.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _invalid("it is not TOML", str(error)) from None
    _check_names("the file", content, ("keys",))
    tables = content.get("keys", {})
    if not isinstance(tables, dict):
        raise _invalid("keys", "must be tables, [keys.NAME]")
    keys = {name: _key(name, table) for name, table in tables.items()}
    digests: dict[str, str] = {}
    for key in keys.values():
        if (other := digests.setdefault(key.digest, key.name)) != key.name:
            raise _invalid(f"keys.{key.name}.sha256", f"is also that of keys.{other}")
    return keys


def check_name(name: str) -> None:
    """Refuse a name that a key can't have.

    Raises:
        VisualSearchError: `invalid_keys`.
    """
    if not _NAME.fullmatch(name):
        raise _invalid(f"keys.{name[:80]}", "a name has 1 to 64 letters, digits, - and _")


def add_key(file: Path, key: Key) -> None:
    """Add a key to the file, which is made if it is missing; what people wrote in it stays.

    Raises:
        VisualSearchError: `invalid_keys` if there is a key with this name, or the file is invalid; `unreadable_file`.
    """
    with _alone(file):
        text = _text_of(file) if file.exists() else ""
        if key.name in parse_keys(text):
            raise _invalid(f"keys.{key.name}", "there is a key with this name; revoke it, or take another name")
        _write(file, text + ("\n" if text and not text.endswith("\n\n") else "") + _table(key))


def remove_key(file: Path, name: str) -> None:
    """Remove a key from the file; what people wrote elsewhere in it stays.

    Raises:
        VisualSearchError: `invalid_keys` if there is no key with this name, or its table can't be found; `unreadable_file`.
    """
    with _alone(file):
        text = _text_of(file)
        known = parse_keys(text)
        if name not in known:
            raise _invalid(f"keys.{name[:80]}", "there is no key with this name")
        rest = re.sub(rf'(?ms)^[ \t]*\[[ \t]*keys\.(?:{name}|"{name}")[ \t]*\][^\n]*\n?.*?(?=^[ \t]*\[|\Z)', "", text)
        if parse_keys(rest) != {key: value for key, value in known.items() if key != name}:
            raise _invalid(f"keys.{name}", "is not written as a table of its own, [keys.NAME]; remove it by hand")
        _write(file, rest)


def _text_of(file: Path) -> str:
    try:
        return read_text(file, _MOST_BYTES)
    except VisualSearchError as error:
        raise VisualSearchError(error.code, f"{str(file)!r} {error.message}") from None


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Keep other programs that change keys waiting: each would write back what it read, without the other's key."""
    try:
        folder = os.open(file.resolve().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _not_written(file, error) from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _key(name: str, table: Any) -> Key:
    place = f"keys.{name[:80]}"
    check_name(name)
    if not isinstance(table, dict):
        raise _invalid(place, "must be a table")
    _check_names(place, table, _FIELDS)
    digest, role = table.get("sha256"), table.get("role")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise _invalid(f"{place}.sha256", "must be the SHA-256 of the key, 64 digits of lower-case hexadecimal")
    if role not in ROLES:
        raise _invalid(f"{place}.role", f"must be one of {', '.join(ROLES)}")
    created = table.get("created")
    if created is not None and not isinstance(created, date):
        raise _invalid(f"{place}.created", "must be a date and time, such as 2026-12-01T12:00:00Z")
    made = None if created is None else created.isoformat()
    return Key(name, digest, role, _collections(place, table.get("collections")), made, _limits(place, table))


def _limits(place: str, table: Mapping[str, Any]) -> Limits:
    given = {name: table[name] for name in _LIMITS if name in table}
    for name, value in given.items():
        whole = name != REQUESTS_PER_SECOND
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not 0 < value < _MOST:
            raise _invalid(f"{place}.{name}", f"must be a {'whole ' if whole else ''}number above 0")
    return Limits(**given)


def _collections(place: str, given: Any) -> frozenset[str] | None:
    if given is None:
        return None
    if not isinstance(given, list) or not given or not all(isinstance(each, str) for each in given):
        raise _invalid(f"{place}.collections", "must be a list of at least one name; leave it out for all collections")
    for each in given:
        if not is_collection_name(each):
            raise _invalid(f"{place}.collections", f"{each[:80]!r} is no name of a collection")
    return frozenset(given)


def _check_names(place: str, table: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuse names that are not known: a misspelt `collections` would let a key use all of them."""
    if unknown := sorted(set(table) - set(known)):
        raise _invalid(f"{place}", f"unknown name {unknown[0][:80]!r} (known: {', '.join(known)})")


def _table(key: Key) -> str:
    # These texts and lists are the same in TOML as in JSON.
    lines = [f"[keys.{key.name}]", f'sha256 = "{key.digest}"', f'role = "{key.role}"']
    if key.collections is not None:
        lines.append(f"collections = {json.dumps(sorted(key.collections))}")
    lines += [f"{name} = {value!r}" for name in _LIMITS if (value := getattr(key.limits, name)) is not None]
    if key.created is not None:
        lines.append(f"created = {datetime.fromisoformat(key.created).isoformat()}")
    return "\n".join(lines) + "\n"


def _write(file: Path, text: str) -> None:
    """Replace the file in one step, readable for its owner only; a gateway that reads it meanwhile sees one of the two.

    Raises:
        VisualSearchError: `unreadable_file`.
    """
    parse_keys(text)
    target = file.resolve()
    try:
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                os.fchmod(stream.fileno(), target.stat().st_mode & 0o777 if target.exists() else _MODE)
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            Path(temporary).replace(target)
        except BaseException:
            with suppress(OSError):
                Path(temporary).unlink()
            raise
    except OSError as error:
        raise _not_written(file, error) from None


def _not_written(file: Path, error: OSError) -> VisualSearchError:
    return VisualSearchError("unreadable_file", f"{str(file)!r} can't be written: {error.strerror}")


def _invalid(place: str, fault: str) -> VisualSearchError:
    return VisualSearchError("invalid_keys", f"{place}: {fault}", place=place)
