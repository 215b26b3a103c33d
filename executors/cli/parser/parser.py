"""Makes the parser of the whole command line from the table of commands."""

from __future__ import annotations

import argparse
from typing import Final

from executors import __version__
from executors.cli.parser.command_table import COMMANDS
from executors.cli.parser.parts import EXIT_STATUSES, add_command

_EXAMPLES: Final = """\
examples:
  visual-search serve                             start the flow; Ctrl-C stops it
  visual-search index ~/Pictures                  make a folder searchable; run it again to continue after a break
  visual-search search cat.jpg                    the most similar pictures, as a table
  visual-search search *.jpg --html found.html    the same, as a page with pictures
  visual-search status                            what is indexed, and with which model

The service is found by --url, else by VS_HOST and VS_HTTP_PORT, else at http://127.0.0.1:8080.

"""


def make_parser() -> argparse.ArgumentParser:
    """Make the parser; the name of the command is parsed as `command`."""
    parser = argparse.ArgumentParser(
        prog="visual-search",
        description="Search pictures with pictures: start the service, fill its index, and search it.",
        epilog=_EXAMPLES + EXIT_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"visual-search {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for each in COMMANDS.values():
        each.add_arguments(add_command(commands, each.name, each.summary, each.examples))
    return parser
