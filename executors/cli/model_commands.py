"""`visual-search models`: what is in the model repository, and making entries of it."""

from __future__ import annotations

import argparse
import dataclasses

from executors.cli.exit_status import OK
from executors.cli.output import cell, make_table, print_json, printable, stderr_console, stdout_console
from executors.settings import read_settings


def models(options: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        VisualSearchError: those of `build_model`; `invalid_setting`.
    """
    if options.action == "list":
        _list(as_json=options.json)
    else:
        from executors.models.build import build_model

        console = stderr_console()
        chosen = read_settings()
        build_model(
            options.name or chosen.model,
            chosen.models_dir,
            lambda line: console.print(printable(line), soft_wrap=True),
        )
    return OK


def _list(*, as_json: bool) -> None:
    from executors.models.build import list_models

    folder = read_settings().models_dir
    listings = list_models(folder)
    if as_json:
        for listing in listings:
            print_json(dataclasses.asdict(listing))
        return
    table = make_table("name", "state", "model id", "dimension", "licence", "detail", right=("dimension",))
    for each in listings:
        values = (each.name, each.state, each.model_id, each.dimension, each.licence, each.detail)
        table.add_row(*(cell(value) for value in values))
    console = stdout_console()
    console.print(table)
    console.print(f"in {printable(str(folder))}", soft_wrap=True)
