"""Arguments and help of the commands serve, index, search, status, verify, quality and models."""

from __future__ import annotations

import argparse
from typing import Final

from executors.cli.parser.parts import (
    add_collection,
    add_command,
    add_filter,
    add_json,
    add_service,
    add_yes,
)
from executors.cli.parser.types import address, cosine, effort, json_object, names, pattern, positive_integer

INDEX_EXAMPLES: Final = """\
examples:
  visual-search index ~/Pictures
  visual-search index shop/ --collection products --tags '{"source": "catalogue"}'
  visual-search index ~/Pictures --report failed.csv      list the files that failed, with their error codes
  visual-search index ~/Pictures --json | jq .result      one line per file
  visual-search index ~/Pictures --prune                  remove pictures that are no longer in the folder
  visual-search index /mnt/camera --id-prefix camera/     ids such as camera/DSC_0001.jpg
  visual-search index cat.jpg dog.jpg                     single files; their names are their ids
  curl -s https://…/x.jpg | visual-search index - --name x.jpg

The id of a picture is its path relative to the folder. The id of a file that you name yourself is its name. Acknowledged
files are remembered by path, size and time, so the same command sends only files that are new, changed, or failed before;
--no-resume sends all of them. The command asks the index whether it still holds the documents that were sent; one that was
deleted since is sent again.

A file replaces only a document that came from it or has the same picture. If another picture has the id (from another
folder, another machine, or curl), the file fails with `id_taken`; use --id-prefix or --replace. A folder that was moved
keeps its pictures, and so does the same folder on another machine.

Files that are gone from a folder are counted. --prune removes them from the index, but only documents that this folder
brought and that no other client has written since. If the folder is empty, or none of its indexed files is left, its
disk may not be mounted: --prune then also needs --allow-empty.

These are left out of folders, and counted by kind in the summary and with --json:
  - names that begin with a dot; waste baskets, snapshots and previews of systems, disk stations and photo managers, such
    as @eaDir, #recycle, $RECYCLE.BIN, lost+found, System Volume Information, __MACOSX, *.lrdata (--all includes both);
  - links that lead out of the folder (--follow follows them; loops end);
  - names that match --exclude, a pattern as in .gitignore: without a slash it matches names at any depth (*.png,
    drafts/), with one it matches paths in the folder (2019/*, **/raw/*.tif);
  - files that are not pictures. The first bytes decide, not the name.
Pictures and videos of an unsupported kind make the exit status 1; use --exclude to say that this is intended.

"""

SEARCH_EXAMPLES: Final = """\
examples:
  visual-search search cat.jpg --limit 5
  visual-search search --text "a red car"                 words instead of a picture, if the model takes them
  visual-search search --like holidays/beach.jpg          pictures that resemble an indexed one
  visual-search search cat.jpg --filter '{"brand": "acme", "price": {"$lt": 50}}'
  visual-search search cat.jpg --group-by brand           only the best match of each brand
  visual-search search *.jpg --html found.html            a page in a single file
  visual-search search cat.jpg --json | jq '.matches[].id'

"""

QUALITY_EXAMPLES: Final = """\
examples:
  visual-search quality                           how many of the true best 10 hits do searches find?
  visual-search quality --collection products -k 50 --sample 500
  visual-search quality --ef 64                   as fast as it was with --ef 200, and as good?

"""

MODELS_EXAMPLES: Final = """\
examples:
  visual-search models list                       which models can be built, and which are here
  visual-search models pull clip-vit-b32          fetch its published files
  visual-search models build clip-vit-b32         build the model from them
  visual-search models verify clip-vit-b32        does it still answer as it did when it was built?

VS_MODELS_MANIFEST names a file that declares more models, in the format of executors/models/manifest.toml.

"""

_PULL_EXAMPLES: Final = """\
examples:
  visual-search models pull clip-vit-b32
  VS_MODELS_MANIFEST=ours.toml visual-search models pull ours

A file is accepted only if its checksum is the published one. After an interruption, the same command continues.

"""

_BUILD_EXAMPLES: Final = """\
examples:
  visual-search models build                      the model that VS_MODEL names
  visual-search models build clip-vit-b32         after `visual-search models pull clip-vit-b32`
  visual-search models build ours                 an entry of your own: VS_MODELS_DIR/ours/config.pbtxt and 1/model.onnx

"""

_TRIAL_EXAMPLES: Final = """\
examples:
  visual-search models verify                     with ONNX Runtime, in this process
  visual-search models verify --triton gpu1:8001  the same model on a Triton server
  visual-search models verify ours:2 --json       version 2 of the model `ours`

"""


def serve_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `serve`."""
    parser.add_argument("flow", nargs="?", metavar="FLOW.yml", help="the flow file (default: image-search.yml)")


def index_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `index`."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a folder, a file, or - for standard input")
    add_service(parser)
    add_collection(parser)
    parser.add_argument("--tags", type=json_object, default={}, metavar="JSON", help="tags of every picture")
    parser.add_argument(
        "--id",
        choices=("path", "sha256"),
        default="path",
        help="what identifies a picture: its path in the folder (default), or its content",
    )
    parser.add_argument("--id-prefix", default="", metavar="TEXT", help="text before the path in each id")
    parser.add_argument("--name", metavar="ID", help="the id of the picture on standard input")
    parser.add_argument("--replace", action="store_true", help="replace other pictures that have the same ids")
    parser.add_argument(
        "--exclude",
        type=pattern,
        action="append",
        default=[],
        metavar="GLOB",
        help="leave out files and folders that match; may be repeated",
    )
    parser.add_argument("--follow", action="store_true", help="follow links that lead out of the folder")
    parser.add_argument("--all", action="store_true", help="include hidden files and system folders")
    parser.add_argument(
        "--prune",
        action="store_true",
        help="remove pictures from the index that are no longer in the folder, after confirmation",
    )
    parser.add_argument(
        "--allow-empty", action="store_true", help="with --prune: even if none of the folder's indexed files is left"
    )
    add_yes(parser)
    parser.add_argument("--no-shrink", action="store_true", help="send large pictures as they are")
    parser.add_argument("--no-resume", action="store_true", help="also send files that were acknowledged before")
    parser.add_argument(
        "--requests", type=positive_integer, default=4, metavar="N", help="requests in flight (default: 4)"
    )
    parser.add_argument(
        "--report",
        metavar="FILE",
        help="write the files that failed or are of an unsupported kind to FILE.csv or FILE.json",
    )
    add_json(parser, "print one JSON line per file, and one with totals if anything was left out or is gone")


def search_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `search`."""
    parser.add_argument("files", nargs="*", metavar="FILE", help="a picture; - for standard input")
    parser.add_argument(
        "--text", action="append", metavar="TEXT", help="search with words, if the model takes them; may be repeated"
    )
    add_service(parser)
    add_collection(parser)
    parser.add_argument("--like", metavar="ID", help="search with an indexed picture instead of files")
    parser.add_argument(
        "--more-like",
        action="append",
        metavar="ID|FILE",
        help="add an indexed picture or a file to each query, or search with it alone; may be repeated",
    )
    parser.add_argument(
        "--less-like",
        action="append",
        metavar="ID|FILE",
        help="lead each query away from an indexed picture or a file; may be repeated",
    )
    parser.add_argument(
        "--exclude-self",
        action="store_true",
        help="leave the indexed pictures that --like, --more-like and --less-like name out of the matches",
    )
    parser.add_argument(
        "--limit", type=positive_integer, default=10, metavar="N", help="matches per query (default: 10)"
    )
    parser.add_argument(
        "--threshold", type=cosine, metavar="SCORE", help="only matches with at least this score, -1 to 1"
    )
    parser.add_argument("--score-min", type=cosine, metavar="SCORE", help="the same as --threshold")
    parser.add_argument("--score-max", type=cosine, metavar="SCORE", help="only matches with at most this score")
    add_filter(parser, "only documents whose tags match")
    parser.add_argument(
        "--group-by",
        metavar="TAG",
        help="only the best match of each group: a tag's path, or `parent`; --limit counts groups",
    )
    parser.add_argument(
        "--fields",
        type=names,
        metavar="NAMES",
        help="only these fields of the matches, comma-separated: uri, tags, tags.PATH, parent, box",
    )
    parser.add_argument("--exact", action="store_true", help="compare with every document instead of walking the graph")
    parser.add_argument(
        "--ef", type=effort, metavar="N", help="candidates that the walk through the graph keeps, 1 to 10000"
    )
    parser.add_argument("--explain", action="store_true", help="show how each shard searched")
    parser.add_argument("--html", metavar="OUT.html", help="write queries and matches as a page with pictures")
    add_json(parser, "print one JSON line per query")


def status_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `status`."""
    add_service(parser)
    parser.add_argument(
        "--watch", action="store_true", help="show the state each second until Ctrl-C; as lines outside a terminal"
    )
    add_json(parser, "print the answer of the service as JSON")


def verify_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `verify`."""
    add_service(parser)
    parser.add_argument(
        "--repair",
        action="store_true",
        help="remove the older copy of ids that are stored twice, and rebuild what is made from the documents",
    )
    add_json(parser, "print the result as JSON")


def quality_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `quality`."""
    add_service(parser)
    parser.add_argument("--collection", metavar="NAME", help="only this collection (default: all)")
    parser.add_argument(
        "--sample", type=positive_integer, default=100, metavar="N", help="stored vectors to search with (default: 100)"
    )
    parser.add_argument("-k", type=positive_integer, default=10, metavar="N", help="hits to compare (default: 10)")
    parser.add_argument(
        "--ef", type=effort, metavar="N", help="candidates that the walk through the graph keeps, 1 to 10000"
    )
    add_json(parser, "print one JSON line per collection")


def models_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `models`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = add_command(
        actions, "list", "show the models that can be built, and those that are here", MODELS_EXAMPLES
    )
    add_json(listing, "print one JSON line per model")
    pull = add_command(actions, "pull", "fetch a model's published files and check them", _PULL_EXAMPLES)
    _add_model(pull)
    build = add_command(actions, "build", "build a model; does nothing if it is here and intact", _BUILD_EXAMPLES)
    _add_model(build)
    verify = add_command(
        actions, "verify", "compare a model's vectors with stored ones; exit status 1 if they differ", _TRIAL_EXAMPLES
    )
    _add_model(verify)
    verify.add_argument(
        "--triton",
        type=address,
        metavar="HOST:PORT",
        help="run it on this Triton server (its gRPC address) instead of in this process",
    )
    add_json(verify, "print the result as JSON")


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="the model (default: VS_MODEL)")
