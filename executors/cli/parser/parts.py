"""The options that several commands have, and the end of every help text."""

from __future__ import annotations

import argparse
from typing import Any, Final

from executors.cli.parser.types import positive_number, search_filter

EXIT_STATUSES: Final = """\
exit status:
  0    everything went well
  1    some documents failed or were not found, a check found faults, or `serve` could not start or continue
  2    the command was typed wrongly
  3    the service can't be reached or refuses to work; for `status` also: a part of it does not answer
  130  interrupted (Ctrl-C); `index`, `export` and `import` say how to continue
  141  the program that reads the output has stopped reading
"""


def add_command(commands: Any, name: str, summary: str, examples: str = "") -> argparse.ArgumentParser:
    """Add a command (or an action of one); its help ends with the examples and the exit statuses."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=examples + EXIT_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    return parser


def add_service(parser: argparse.ArgumentParser, *, again: bool = False) -> None:
    """Add `--url` and `--timeout`. With `again`, an action has no default, because its command takes the options too."""
    parser.add_argument(
        "--url",
        metavar="URL",
        default=argparse.SUPPRESS if again else None,
        help="URL of the service (default: from VS_HOST and VS_HTTP_PORT)",
    )
    parser.add_argument(
        "--timeout",
        type=positive_number,
        default=argparse.SUPPRESS if again else 120.0,
        metavar="SECONDS",
        help="timeout of one answer (default: 120)",
    )


def add_collection(parser: argparse.ArgumentParser) -> None:
    """Add `--collection`."""
    parser.add_argument("--collection", metavar="NAME", help="the collection (default: images)")


def add_filter(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--filter`, with what it does as its help."""
    parser.add_argument("--filter", type=search_filter, metavar="JSON", help=what)


def add_yes(parser: argparse.ArgumentParser) -> None:
    """Add `--yes`."""
    parser.add_argument("--yes", action="store_true", help="don't ask for confirmation; required without a terminal")


def add_json(parser: argparse.ArgumentParser, what: str, *, again: bool = False) -> None:
    """Add `--json`, with what it prints as its help; `again` as in `add_service`."""
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS if again else False, help=what)
