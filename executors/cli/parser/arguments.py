"""Arguments and help of the commands serve, index, search, status, verify and models."""

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
  visual-search index ~/Pictures --report failed.csv      the files that failed, with their codes
  visual-search index ~/Pictures --json | jq .result      one line per file
  visual-search index ~/Pictures --prune                  remove what is no longer in the folder, after a question
  visual-search index /mnt/camera --id-prefix camera/     ids such as camera/DSC_0001.jpg
  visual-search index cat.jpg dog.jpg                     files, with their names as ids
  curl -s https://…/x.jpg | visual-search index - --name x.jpg

The id of a picture is its path relative to the folder; of a file that is named itself, its name. Acknowledged files are
remembered by path, size and time, so that the same command sends only what is new, changed, or failed before; --no-resume
sends everything. The index is asked whether it still holds what was sent: what was deleted from it since is sent again.

A file replaces only what came from it or is the same picture. When another picture has the id (of another folder, from
another machine, from curl), the file fails with `id_taken`. The ways out: --id-prefix, or --replace. A folder that was
moved, and the same folder of another machine, go on.

Files that are gone from a folder are counted; --prune removes them from the index: only those that this folder brought,
and that nobody else wrote since. Where a folder is empty, or nothing is left that it brought, the disk may not be mounted,
or be another one: there, --prune wants --allow-empty.

Left out of folders, and counted by kind in the summary and with --json:
  - what begins with a dot; waste baskets, snapshots and previews of systems, disk stations and photo managers, such as
    @eaDir, #recycle, $RECYCLE.BIN, lost+found, System Volume Information, __MACOSX, *.lrdata (--all takes both);
  - links that lead out of the folder (--follow takes them; loops end);
  - what --exclude names: a pattern as in .gitignore, without a slash for names at any depth (*.png, drafts/), with one
    for paths in the folder (2019/*, **/raw/*.tif);
  - files that are no picture, by their first bytes; the name does not matter.
Pictures and videos of a kind that is not read make the exit status 1; exclude them to say that this is meant.

"""

SEARCH_EXAMPLES: Final = """\
examples:
  visual-search search cat.jpg --limit 5
  visual-search search --text "a red car"                 words in place of a picture, where the model takes them
  visual-search search --like holidays/beach.jpg          what resembles a picture that is indexed
  visual-search search cat.jpg --filter '{"brand": "acme", "price": {"$lt": 50}}'
  visual-search search cat.jpg --group-by brand           the best match of each brand
  visual-search search *.jpg --html found.html            a page that needs no other file
  visual-search search cat.jpg --json | jq '.matches[].id'

"""

MODELS_EXAMPLES: Final = """\
examples:
  visual-search models list                       what can be made, and what is there
  visual-search models pull clip-vit-b32          fetch its published files
  visual-search models build clip-vit-b32         make the model of them
  visual-search models verify clip-vit-b32        does it answer as it did when it was made?

VS_MODELS_MANIFEST names a file with more models, in the format of executors/models/manifest.toml.

"""

_PULL_EXAMPLES: Final = """\
examples:
  visual-search models pull clip-vit-b32
  VS_MODELS_MANIFEST=ours.toml visual-search models pull ours

A file is taken only if its checksum is the published one. After a break, the same command goes on where it stopped.

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
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a folder, a file, or - for the standard input")
    add_service(parser)
    add_collection(parser)
    parser.add_argument("--tags", type=json_object, default={}, metavar="JSON", help="tags of every picture")
    parser.add_argument(
        "--id",
        choices=("path", "sha256"),
        default="path",
        help="what identifies a picture: its path in the folder (default), or its content",
    )
    parser.add_argument("--id-prefix", default="", metavar="TEXT", help="stands before the path in each id")
    parser.add_argument("--name", metavar="ID", help="the id of the picture on the standard input")
    parser.add_argument("--replace", action="store_true", help="take the place of other pictures with the same ids")
    parser.add_argument(
        "--exclude",
        type=pattern,
        action="append",
        default=[],
        metavar="GLOB",
        help="leave out what matches; may be repeated",
    )
    parser.add_argument("--follow", action="store_true", help="follow links that lead out of the folder")
    parser.add_argument("--all", action="store_true", help="leave out neither hidden files nor system folders")
    parser.add_argument(
        "--prune", action="store_true", help="remove from the index what is no longer in the folder, after a question"
    )
    parser.add_argument(
        "--allow-empty", action="store_true", help="with --prune: also where nothing is left of what the folder brought"
    )
    add_yes(parser)
    parser.add_argument("--no-shrink", action="store_true", help="send large pictures as they are")
    parser.add_argument("--no-resume", action="store_true", help="send files again that were acknowledged before")
    parser.add_argument(
        "--requests", type=positive_integer, default=4, metavar="N", help="requests in flight (default: 4)"
    )
    parser.add_argument(
        "--report", metavar="FILE", help="write what failed, and what is not read, to FILE.csv or FILE.json"
    )
    add_json(parser, "print one JSON line per file, and one with totals where something was left out or is gone")


def search_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `search`."""
    parser.add_argument("files", nargs="*", metavar="FILE", help="a picture; - for the standard input")
    parser.add_argument(
        "--text", action="append", metavar="TEXT", help="search with words, where the model takes them; may be repeated"
    )
    add_service(parser)
    add_collection(parser)
    parser.add_argument("--like", metavar="ID", help="search with an indexed picture in place of files")
    parser.add_argument(
        "--exclude-self", action="store_true", help="with --like: leave that picture out of the matches"
    )
    parser.add_argument("--limit", type=positive_integer, default=10, metavar="N", help="matches a query (default: 10)")
    parser.add_argument(
        "--threshold", type=cosine, metavar="SCORE", help="only matches with at least this score, -1 to 1"
    )
    add_filter(parser, "only documents whose tags match")
    parser.add_argument(
        "--group-by",
        metavar="TAG",
        help="the best match of each group: a tag's path, or `parent`; --limit counts groups",
    )
    parser.add_argument(
        "--fields",
        type=names,
        metavar="NAMES",
        help="only these fields of the matches: uri, tags, tags.PATH, parent, box (with commas between them)",
    )
    parser.add_argument("--exact", action="store_true", help="compare with every document, not only along the graph")
    parser.add_argument("--ef", type=effort, metavar="N", help="the effort along the graph: candidates, 1 to 10000")
    parser.add_argument("--explain", action="store_true", help="say how each shard searched")
    parser.add_argument("--html", metavar="OUT.html", help="write queries and matches as a page with pictures")
    add_json(parser, "print one JSON line per query")


def status_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `status`."""
    add_service(parser)
    add_json(parser, "print the service's own answer")


def verify_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `verify`."""
    add_service(parser)
    parser.add_argument(
        "--repair", action="store_true", help="remove the older copy of ids that stand twice, and mend what can be"
    )
    add_json(parser, "print the result as JSON")


def models_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `models`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = add_command(
        actions, "list", "show the models that can be made, and those that are there", MODELS_EXAMPLES
    )
    add_json(listing, "print one JSON line per model")
    pull = add_command(actions, "pull", "fetch a model's published files and check them", _PULL_EXAMPLES)
    _add_model(pull)
    build = add_command(actions, "build", "make a model; does nothing when it is there and intact", _BUILD_EXAMPLES)
    _add_model(build)
    verify = add_command(
        actions, "verify", "compare a model's vectors with stored ones; exit status 1 when they differ", _TRIAL_EXAMPLES
    )
    _add_model(verify)
    verify.add_argument(
        "--triton", type=address, metavar="HOST:PORT", help="on this Triton server (its gRPC) in place of this process"
    )
    add_json(verify, "print the result as JSON")


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="the model (default: VS_MODEL)")
