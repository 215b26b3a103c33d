"""The command line, `visual-search`: what a person types. One module a command; the heavy ones are imported when used."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: what follows the program's name; the process's own by default.

    Returns:
        The exit status, as `executors.cli.exit_status` lists them.
    """
    from executors.cli.entry import run

    return run(arguments)
