"""Arguments and help of the commands get, delete, count, facets, export, import, collections and reindex."""

from __future__ import annotations

import argparse
from typing import Final

from executors.cli.parser.parts import add_collection, add_command, add_filter, add_json, add_service, add_yes
from executors.cli.parser.types import positive_integer

DELETE_EXAMPLES: Final = """\
examples:
  visual-search delete cat.jpg dog.jpg                    by id, without confirmation
  visual-search delete --filter '{"year": {"$lt": 2001}}'     documents that match, after confirmation
  visual-search delete --filter '{"draft": true}' --yes   without confirmation

Documents that came from a deleted one (such as crops, whose `parent` it is) are deleted as well.

"""

COUNT_EXAMPLES: Final = """\
examples:
  visual-search count
  visual-search count --collection products --filter '{"brand": "acme", "price": {"$lt": 50}}'

"""

FACETS_EXAMPLES: Final = """\
examples:
  visual-search facets brand colour
  visual-search facets brand price --collection products --filter '{"brand": "acme", "sold": false}' --limit 20

Each tag is counted without the conditions of the filter on itself: the example shows how many there are of each brand
that is not sold, and the prices of those of acme.

"""

EXPORT_EXAMPLES: Final = """\
examples:
  visual-search export backup.ndjson                      every collection, with vectors and thumbnails
  visual-search export backup.ndjson --resume             continue after an interruption
  visual-search export products.ndjson --collection products --filter '{"brand": "acme"}'
  visual-search export - | gzip > backup.ndjson.gz
  visual-search export - --collection products | visual-search import - --url http://other:8080

The output has one JSON object per line: a header, the documents in the order of their ids, and an end. The vector is
`embedding_f32`, base64 of little-endian float32: exact to the bit, and half as long as numbers. The file is written as
FILE.part and renamed when it is complete. It is not a snapshot: it may lack documents that are written meanwhile.

"""

IMPORT_EXAMPLES: Final = """\
examples:
  visual-search import backup.ndjson
  visual-search import backup.ndjson --resume             continue after an interruption
  visual-search import backup.ndjson --collection copy    import the only collection of the file under another name
  gunzip -c backup.ndjson.gz | visual-search import -
  visual-search import backup.ndjson --json | jq 'select(.error)'

The lines may also come from another program: {"id": "a", "embedding": [0.1, …], "tags": {…}}, optionally with
`collection`, `model_id`, `uri`, `parent`, `box`, `text` and `thumbnail`. Importing the same file twice changes nothing.

"""

COLLECTIONS_EXAMPLES: Final = """\
examples:
  visual-search collections                               list them
  visual-search collections create products
  visual-search collections create vectors --model-id ours --dimension 512
  visual-search collections show products
  visual-search collections drop products --yes

The first document that is written to a collection also creates it.

"""

REINDEX_EXAMPLES: Final = """\
examples:
  visual-search reindex                                   each collection
  visual-search reindex --collection products

The service continues to answer and to accept writes. Ctrl-C ends only the watching, not the rebuild.

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


def facets_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `facets`."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a tag whose values are counted: keys joined by dots")
    add_service(parser)
    add_collection(parser)
    add_filter(parser, "only documents whose tags match; each tag leaves out the conditions on itself")
    parser.add_argument(
        "--limit", type=positive_integer, default=10, metavar="N", help="values of each tag (default: 10)"
    )
    add_json(parser, "print one JSON line per tag")


def export_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `export`."""
    parser.add_argument(
        "file", nargs="?", default="-", metavar="FILE", help="the file to write (default: -, standard output)"
    )
    add_service(parser)
    parser.add_argument(
        "--collection", action="append", metavar="NAME", help="only this collection; may be repeated (default: all)"
    )
    add_filter(parser, "only documents whose tags match")
    parser.add_argument("--resume", action="store_true", help="continue FILE.part, if it exists")
    add_json(parser, "print what was written as JSON")


def import_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `import`."""
    parser.add_argument(
        "file", nargs="?", default="-", metavar="FILE", help="the file to read (default: -, standard input)"
    )
    add_service(parser)
    parser.add_argument("--collection", metavar="NAME", help="put all documents into this collection")
    parser.add_argument("--resume", action="store_true", help="continue where an earlier run with this file ended")
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
        actions, "create", "create a collection; does nothing if it exists with the same model", COLLECTIONS_EXAMPLES
    )
    show = add_command(actions, "show", "show one collection", COLLECTIONS_EXAMPLES)
    drop = add_command(actions, "drop", "remove a collection with all its documents", COLLECTIONS_EXAMPLES)
    for each in (create, show, drop):
        each.add_argument("name", metavar="NAME")
    for each in (listing, create, show, drop):
        add_service(each, again=True)
        add_json(each, "print one JSON line per collection", again=True)
    create.add_argument("--model-id", metavar="ID", help="the model of its vectors (default: the flow's)")
    create.add_argument(
        "--dimension", type=positive_integer, metavar="N", help="dimension of its vectors (default: the model's)"
    )
    add_yes(drop)


def reindex_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `reindex`."""
    add_service(parser)
    parser.add_argument("--collection", metavar="NAME", help="only this collection (default: all)")
    add_json(parser, "print what was rebuilt as JSON")
