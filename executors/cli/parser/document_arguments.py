"""Arguments and help of the commands get, delete, count, export, import, collections and reindex."""

from __future__ import annotations

import argparse
from typing import Final

from executors.cli.parser.parts import add_collection, add_command, add_filter, add_json, add_service, add_yes
from executors.cli.parser.types import positive_integer

DELETE_EXAMPLES: Final = """\
examples:
  visual-search delete cat.jpg dog.jpg                    by id, without asking
  visual-search delete --filter '{"year": {"$lt": 2001}}'     what matches, after a question
  visual-search delete --filter '{"draft": true}' --yes   without one

What came from a document (crops, say: those whose `parent` it is) goes with it.

"""

COUNT_EXAMPLES: Final = """\
examples:
  visual-search count
  visual-search count --collection products --filter '{"brand": "acme", "price": {"$lt": 50}}'

"""

EXPORT_EXAMPLES: Final = """\
examples:
  visual-search export backup.ndjson                      every collection, vectors and small pictures included
  visual-search export backup.ndjson --resume             go on after a break
  visual-search export products.ndjson --collection products --filter '{"brand": "acme"}'
  visual-search export - | gzip > backup.ndjson.gz
  visual-search export - --collection products | visual-search import - --url http://other:8080

One JSON object a line: a header, the documents in the order of their ids, and an end. The vector is `embedding_f32`,
base64 of its little-endian float32: the same to the bit, and half as long as numbers. The file is written as FILE.part, and
has its name when it is whole. It is no snapshot: what is written meanwhile may be in it or not.

"""

IMPORT_EXAMPLES: Final = """\
examples:
  visual-search import backup.ndjson
  visual-search import backup.ndjson --resume             go on after a break
  visual-search import backup.ndjson --collection copy    the one collection of the file under another name
  gunzip -c backup.ndjson.gz | visual-search import -
  visual-search import backup.ndjson --json | jq 'select(.error)'

Lines may come from elsewhere, too: {"id": "a", "embedding": [0.1, …], "tags": {…}}, with `collection`, `model_id`, `uri`,
`parent`, `box`, `text` and `thumbnail` if there are any. Importing the same twice changes nothing.

"""

COLLECTIONS_EXAMPLES: Final = """\
examples:
  visual-search collections                               list them
  visual-search collections create products
  visual-search collections create vectors --model-id ours --dimension 512
  visual-search collections show products
  visual-search collections drop products --yes

A collection is also made by the first document that is written to it.

"""

REINDEX_EXAMPLES: Final = """\
examples:
  visual-search reindex                                   each collection
  visual-search reindex --collection products

The service goes on answering and taking writes; Ctrl-C ends only the watching.

"""


def get_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `get`."""
    parser.add_argument("ids", nargs="+", metavar="ID")
    add_service(parser)
    add_collection(parser)
    add_json(parser, "print one JSON line per id")


def delete_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `delete`."""
    parser.add_argument("ids", nargs="*", metavar="ID")
    add_service(parser)
    add_collection(parser)
    add_filter(parser, "remove the documents whose tags match")
    add_yes(parser)
    add_json(parser, "print one JSON line per id; with --filter, one")


def count_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `count`."""
    add_service(parser)
    add_collection(parser)
    add_filter(parser, "only documents whose tags match")
    add_json(parser, "print the result as JSON")


def export_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `export`."""
    parser.add_argument("file", nargs="?", default="-", metavar="FILE", help="default: - for the output")
    add_service(parser)
    parser.add_argument(
        "--collection", action="append", metavar="NAME", help="only this one; may be repeated (default: all)"
    )
    add_filter(parser, "only documents whose tags match")
    parser.add_argument("--resume", action="store_true", help="go on with FILE.part, if it is there")
    add_json(parser, "print what was written as JSON")


def import_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `import`."""
    parser.add_argument("file", nargs="?", default="-", metavar="FILE", help="default: - for the input")
    add_service(parser)
    parser.add_argument("--collection", metavar="NAME", help="put the documents there, whatever theirs was called")
    parser.add_argument("--resume", action="store_true", help="go on where an earlier run with this file ended")
    parser.add_argument(
        "--requests", type=positive_integer, default=4, metavar="N", help="requests in flight (default: 4)"
    )
    add_json(parser, "print one JSON line per document")


def collections_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `collections`."""
    add_service(parser)
    add_json(parser, "print one JSON line per collection")
    parser.set_defaults(action="list")
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    listing = add_command(actions, "list", "show all collections (the default)", COLLECTIONS_EXAMPLES)
    create = add_command(
        actions, "create", "make a collection; does nothing when it is there and the same", COLLECTIONS_EXAMPLES
    )
    show = add_command(actions, "show", "show one collection", COLLECTIONS_EXAMPLES)
    drop = add_command(actions, "drop", "remove a collection with all its documents", COLLECTIONS_EXAMPLES)
    for each in (create, show, drop):
        each.add_argument("name", metavar="NAME")
    for each in (listing, create, show, drop):
        add_service(each, again=True)
        add_json(each, "print one JSON line per collection", again=True)
    create.add_argument("--model-id", metavar="ID", help="the model that its vectors come from (default: the flow's)")
    create.add_argument(
        "--dimension", type=positive_integer, metavar="N", help="how many numbers a vector has (default: the model's)"
    )
    add_yes(drop)


def reindex_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `reindex`."""
    add_service(parser)
    parser.add_argument("--collection", metavar="NAME", help="only this one (default: each)")
    add_json(parser, "print what was built as JSON")
