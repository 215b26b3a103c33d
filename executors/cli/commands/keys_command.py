"""Runs `visual-search keys`: create, list, revoke and check."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from executors.cli.exit_status import OK, SOME_FAILED
from executors.cli.terminal.output import (
    cell,
    count_of,
    make_table,
    print_error,
    print_json,
    printable,
    stderr_console,
    stdout_console,
)
from executors.document_values import is_collection_name
from executors.errors import VisualSearchError
from executors.keys.key import Key, digest_of, new_secret
from executors.keys.key_file import add_key, check_name, read_keys, remove_key
from executors.settings import read_settings


def keys(options: argparse.Namespace) -> int:
    """Run one of the actions and return its exit status.

    Raises:
        VisualSearchError: `invalid_setting` if no file is named; `invalid_keys`, `unreadable_file`.
    """
    file = _file(options)
    match options.action:
        case "create":
            return _create(options, file)
        case "list":
            return _list(options, file)
        case "revoke":
            return _revoke(options, file)
        case "check":
            return _check(options, file)
    raise AssertionError(f"the parser knows an action that this function does not: {options.action}")


def _file(options: argparse.Namespace) -> Path:
    file: Path | None = options.file or read_settings().keys_file
    if file is None:
        message = "no file of keys is named: set VS_KEYS_FILE, or give --file"
        raise VisualSearchError("invalid_setting", message, variables=["VS_KEYS_FILE"])
    return file.expanduser()


def _create(options: argparse.Namespace, file: Path) -> int:
    check_name(options.name)
    for collection in options.collection or ():
        if not is_collection_name(collection):
            raise VisualSearchError(
                "invalid_parameter", f"--collection: {collection[:80]!r} is no name of a collection"
            )
    secret = new_secret()
    collections = frozenset(options.collection) if options.collection else None
    created = datetime.now(UTC).replace(microsecond=0).isoformat()
    key = Key(options.name, digest_of(secret), options.role, collections, created)
    add_key(file, key)
    if options.json:
        print_json(_to_json(key) | {"key": secret})
    else:
        # The key alone goes to stdout, so that a script can take it from there.
        said = f"the key {key.name!r} ({_rights(key)}) is in {file}; this is the only time that it is shown:"
        stderr_console().print(printable(said), soft_wrap=True)
        stdout_console().print(secret, soft_wrap=True, markup=False, highlight=False)
    return OK


def _list(options: argparse.Namespace, file: Path) -> int:
    found = read_keys(file)
    if options.json:
        for key in found.values():
            print_json(_to_json(key))
        return OK
    table = make_table("name", "role", "collections", "created")
    for key in found.values():
        table.add_row(cell(key.name), key.role, cell(_collections(key)), cell(key.created or ""))
    stdout_console().print(table)
    return OK


def _revoke(options: argparse.Namespace, file: Path) -> int:
    remove_key(file, options.name)
    if options.json:
        print_json({"name": options.name, "result": "revoked"})
    else:
        stdout_console().print(cell(f"{options.name}: revoked"), soft_wrap=True)
    return OK


def _check(options: argparse.Namespace, file: Path) -> int:
    found = read_keys(file)
    secret = read_settings().api_key
    if secret is None:
        message = f"{file} is valid and has {count_of(len(found), 'key')}; VS_API_KEY has no key to check"
        print_json({"keys": len(found)}) if options.json else stdout_console().print(cell(message), soft_wrap=True)
        return OK
    digest = digest_of(secret.get_secret_value())
    key = next((each for each in found.values() if each.digest == digest), None)
    if key is None:
        print_error(f"the key in VS_API_KEY is not in {file}")
        return SOME_FAILED
    if options.json:
        print_json(_to_json(key))
    else:
        stdout_console().print(cell(f"it is the key {key.name!r}: {_rights(key)}"), soft_wrap=True)
    return OK


def _rights(key: Key) -> str:
    return f"role {key.role}, collections: {_collections(key)}"


def _collections(key: Key) -> str:
    return "all" if key.collections is None else ", ".join(sorted(key.collections))


def _to_json(key: Key) -> dict[str, Any]:
    collections = None if key.collections is None else sorted(key.collections)
    return {"name": key.name, "role": key.role, "collections": collections, "created": key.created}
