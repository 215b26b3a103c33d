"""Arguments and help of the command keys."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from executors.cli.parser.parts import add_command, add_json

KEYS_EXAMPLES: Final = """\
examples:
  export VS_KEYS_FILE=~/.config/visual-search/keys.toml   the file that `serve` reads, too
  visual-search keys create shop --role search            prints the key; it is shown only this once
  visual-search keys create import --role write --collection products
  visual-search keys list
  visual-search keys revoke shop                          a running service notices within a second
  VS_API_KEY=vs_… visual-search keys check                whose key is it, and what may it do

The file holds hashes and no keys. Roles: `search` reads, `write` also writes and deletes documents, `admin` may do
everything. Commands that ask the service send the key in VS_API_KEY.

"""


def keys_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `keys`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    create = add_command(actions, "create", "make a key, and print it", KEYS_EXAMPLES)
    listing = add_command(actions, "list", "show the names and rights of all keys", KEYS_EXAMPLES)
    revoke = add_command(actions, "revoke", "remove a key", KEYS_EXAMPLES)
    check = add_command(actions, "check", "check the file, and the key in VS_API_KEY if there is one", KEYS_EXAMPLES)
    for each in (create, revoke):
        each.add_argument("name", metavar="NAME")
    create.add_argument("--role", choices=("search", "write", "admin"), required=True, help="what the key may do")
    create.add_argument(
        "--collection",
        action="append",
        metavar="NAME",
        help="the only collection that it may use; may be given several times (default: all)",
    )
    for each in (create, listing, revoke, check):
        each.add_argument(
            "--file", type=Path, metavar="FILE", help="the file of keys (default: the one that VS_KEYS_FILE names)"
        )
        add_json(each, "print JSON")
