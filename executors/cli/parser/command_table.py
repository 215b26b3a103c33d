"""The commands of `visual-search`, one row each: name, help, arguments, and the function that runs it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Final, Literal, TypeAlias

from executors.cli.parser import arguments, document_arguments, key_arguments

Needs: TypeAlias = Literal["flow file", "service", "models", "keys"]


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Attributes:
        name: what the user types.
        summary: its line in the list of commands.
        add_arguments: adds its arguments to its parser.
        function: `module:function`; it takes the parsed options and returns the exit status. The module is imported only
            when the command runs, so that `--help` and errors don't wait for it.
        needs: what it works on: a flow file, a running service, the models in VS_MODELS_DIR, or the file of keys.
        examples: the examples and notes in its help.
    """

    name: str
    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    function: str
    needs: Needs
    examples: str = ""

    def run(self, options: argparse.Namespace) -> int:
        """Import the command, run it, and return its exit status.

        Raises:
            VisualSearchError: the command could not do its work.
        """
        module, _, name = self.function.partition(":")
        function: Callable[[argparse.Namespace], int] = getattr(import_module(module), name)
        return function(options)


_COMMANDS: Final = "executors.cli.commands"
_ROWS: Final = (
    Command(
        "serve",
        "start the flow in the foreground",
        arguments.serve_arguments,
        f"{_COMMANDS}.serve_command:serve",
        "flow file",
    ),
    Command(
        "index",
        "index the pictures in folders, recursively, and single files",
        arguments.index_arguments,
        "executors.cli.index.command:index",
        "service",
        arguments.INDEX_EXAMPLES,
    ),
    Command(
        "search",
        "search with pictures or words",
        arguments.search_arguments,
        f"{_COMMANDS}.search_command:search",
        "service",
        arguments.SEARCH_EXAMPLES,
    ),
    Command(
        "get",
        "show documents of the index by id",
        document_arguments.get_arguments,
        f"{_COMMANDS}.document_commands:get",
        "service",
    ),
    Command(
        "delete",
        "remove documents from the index, by id or by a filter",
        document_arguments.delete_arguments,
        f"{_COMMANDS}.document_commands:delete",
        "service",
        document_arguments.DELETE_EXAMPLES,
    ),
    Command(
        "count",
        "count the documents of a collection",
        document_arguments.count_arguments,
        f"{_COMMANDS}.document_commands:count",
        "service",
        document_arguments.COUNT_EXAMPLES,
    ),
    Command(
        "facets",
        "count the values of tags",
        document_arguments.facets_arguments,
        f"{_COMMANDS}.analysis_commands:facets",
        "service",
        document_arguments.FACETS_EXAMPLES,
    ),
    Command(
        "export",
        "write documents with their vectors as lines of JSON",
        document_arguments.export_arguments,
        "executors.cli.transfer.export_command:export",
        "service",
        document_arguments.EXPORT_EXAMPLES,
    ),
    Command(
        "import",
        "import the lines of an export into the index",
        document_arguments.import_arguments,
        "executors.cli.transfer.import_command:import_",
        "service",
        document_arguments.IMPORT_EXAMPLES,
    ),
    Command(
        "collections",
        "list, create, show or drop collections",
        document_arguments.collections_arguments,
        f"{_COMMANDS}.collection_commands:collections",
        "service",
        document_arguments.COLLECTIONS_EXAMPLES,
    ),
    Command(
        "reindex",
        "rebuild the graphs that searches walk through, from the documents",
        document_arguments.reindex_arguments,
        f"{_COMMANDS}.reindex_command:reindex",
        "service",
        document_arguments.REINDEX_EXAMPLES,
    ),
    Command(
        "status",
        "show what is indexed and whether every stage answers",
        arguments.status_arguments,
        f"{_COMMANDS}.service_commands:status",
        "service",
    ),
    Command(
        "verify",
        "check every stored document; exit status 1 if there are faults",
        arguments.verify_arguments,
        f"{_COMMANDS}.service_commands:verify",
        "service",
    ),
    Command(
        "quality",
        "measure which part of the true best hits searches find",
        arguments.quality_arguments,
        f"{_COMMANDS}.analysis_commands:quality",
        "service",
        arguments.QUALITY_EXAMPLES,
    ),
    Command(
        "models",
        "list, fetch, build or check the models in VS_MODELS_DIR",
        arguments.models_arguments,
        f"{_COMMANDS}.model_commands:models",
        "models",
        arguments.MODELS_EXAMPLES,
    ),
    Command(
        "keys",
        "create, list, revoke or check the keys of those who may use the service",
        key_arguments.keys_arguments,
        f"{_COMMANDS}.keys_command:keys",
        "keys",
        key_arguments.KEYS_EXAMPLES,
    ),
)

COMMANDS: Final = {each.name: each for each in _ROWS}
"""Every command by its name, in the order of the help."""
