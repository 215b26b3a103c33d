"""The command line, `visual-search`. `parser/command_table.py` lists the commands and the function that runs each."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the arguments after the program's name; by default those of this process.

    Returns:
        The exit status, as `executors.cli.exit_status` lists them.
    """
    from executors.cli.entry import run

    return run(arguments)
