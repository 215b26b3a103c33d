"""Runs `visual-search models`: list, pull, build and verify."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from executors.cli.exit_status import OK, SOME_FAILED
from executors.cli.terminal.output import (
    cell,
    count_of,
    make_table,
    print_json,
    printable,
    stderr_console,
    stdout_console,
)
from executors.models.fetch.sources import PulledFile, is_here, pull_command, pull_model
from executors.models.listing import ModelListing, list_models, require_known
from executors.models.manifest import ManifestModel, find_model, load_manifest
from executors.models.repository import build_command, parse_choice
from executors.settings import read_settings

if TYPE_CHECKING:
    from executors.models.verify import VerifyReport


def models(options: argparse.Namespace) -> int:
    """Run one of the actions and return its exit status.

    Raises:
        VisualSearchError: those of `load_manifest`, `pull_model`, `build_model` and `verify_model`; `invalid_setting`.
    """
    chosen = read_settings()
    folder = chosen.models_dir
    manifest = load_manifest(chosen.models_manifest)
    match options.action:
        case "list":
            return _list(folder, manifest, as_json=options.json)
        case "pull":
            name, _ = parse_choice(options.name or chosen.model)
            return _pull(find_model(manifest, name), folder)
        case "build":
            return _build(options.name or chosen.model, folder, manifest)
        case "verify":
            name = options.name or chosen.model
            require_known(folder, parse_choice(name)[0], manifest)
            return _verify(name, folder, options.triton, as_json=options.json)
    raise AssertionError(f"the parser knows an action that this function does not: {options.action}")


def _list(folder: Path, manifest: dict[str, ManifestModel], *, as_json: bool) -> int:
    listings = list_models(folder, manifest)
    if as_json:
        for listing in listings:
            print_json(dataclasses.asdict(listing) | _origin(manifest.get(listing.name), folder))
        return OK
    columns = ("name", "state", "model id", "dimension", "input", "towers", "licence", "run here")
    table = make_table(*columns, right=("dimension",))
    for each in listings:
        run_here = {True: "yes", False: "no", None: None}[each.run_here]
        values = (each.name, each.state, each.model_id, each.dimension, each.input, each.towers, each.licence, run_here)
        table.add_row(*(cell(value) for value in values))
    console = stdout_console()
    console.print(table)
    console.print()
    for each in listings:
        for line in _remarks(each, manifest.get(each.name), folder):
            console.print(printable(f"{each.name}: {line}"), soft_wrap=True)
    console.print(f"in {printable(str(folder))}", soft_wrap=True)
    return OK


def _origin(model: ManifestModel | None, folder: Path) -> dict[str, object]:
    """Return the manifest's entry of a model, as JSON values; empty if no manifest has it."""
    if model is None:
        return {}
    wanted = {"kind", "layout", "mean", "scale", "fit", "crop_fraction", "source", "licence_source", "note"}
    files = [
        {
            "role": file.role,
            "name": file.name,
            "checksum": file.checksum,
            "bytes": file.size,
            "url": file.url,
            "package": f"{file.package}=={file.package_version}" if file.package else None,
            "here": is_here(file, folder),
        }
        for file in model.files.values()
    ]
    return model.model_dump(mode="json", include=wanted) | {"files": files}


def _remarks(listing: ModelListing, model: ManifestModel | None, folder: Path) -> list[str]:
    """Notes about a model: what is wrong with it, and the command to run next."""
    remarks = [model.note] if model and model.note else []
    if listing.state == "missing" and model:
        here = all(is_here(file, folder) for file in model.files.values())
        command = build_command(model.name) if here else pull_command(model.name)
        remarks.append(f"`{command}` {'builds it' if here else 'fetches its files'}")
    elif listing.detail:
        remarks.append(listing.detail)
    return remarks


def _pull(model: ManifestModel, folder: Path) -> int:
    from executors.cli.terminal.pull_progress import pull_progress

    console = stderr_console()
    source = f" ({model.licence_source})" if model.licence_source else ""
    console.print(printable(f"{model.name}: licence {model.licence}{source}"), soft_wrap=True)
    if model.note:
        console.print(printable(f"{model.name}: {model.note}"), soft_wrap=True)
    try:
        with pull_progress(console) as progress:
            pulled = pull_model(model, folder, progress)
    except KeyboardInterrupt:
        console.print(f"interrupted; `{pull_command(model.name)}` continues", soft_wrap=True)
        raise
    for each in pulled:
        console.print(printable(_pulled_line(each)), soft_wrap=True)
    console.print(f"{count_of(len(pulled), 'file')}, checked; `{build_command(model.name)}` builds the model")
    return OK


def _pulled_line(pulled: PulledFile) -> str:
    file, size = pulled.file, pulled.path.stat().st_size / 1e6
    what = {
        "fetched": "fetched",
        "present": "was here already",
        "installed": f"comes with {file.package} {file.package_version}",
    }[pulled.result]
    return f"{file.name}: {what}, {size:,.1f} MB, {file.algorithm} {file.digest}"


def _build(name: str, folder: Path, manifest: dict[str, ManifestModel]) -> int:
    from executors.models.build import build_model

    console = stderr_console()
    build_model(name, folder, lambda line: console.print(printable(line), soft_wrap=True), manifest)
    return OK


def _verify(name: str, folder: Path, triton: str | None, *, as_json: bool) -> int:
    from executors.models.verify import verify_model

    if triton is None:
        from executors.models.run_onnx import run_in_process

        run = run_in_process(folder)
    else:
        from executors.cli.commands.triton_run import run_on_triton

        run = run_on_triton(triton)
    report = verify_model(folder, name, run)
    if as_json:
        print_json(dataclasses.asdict(report) | {"ok": report.ok, "triton": triton})
    else:
        _print_report(report, f"the Triton server {triton}" if triton else "ONNX Runtime in this process")
    return OK if report.ok else SOME_FAILED


def _print_report(report: VerifyReport, where: str) -> None:
    console = stdout_console()
    table = make_table("tower", "version", "model id", "result", "inputs", "least cosine", right=("version", "inputs"))
    for each in report.towers:
        cosine = None if each.least_cosine is None else f"{each.least_cosine:.6f}"
        values = (each.name, each.version, each.model_id, each.result.replace("_", " "), each.rows, cosine)
        table.add_row(*(cell(value) for value in values))
    console.print(table)
    console.print()
    for each in report.towers:
        if each.detail:
            console.print(printable(f"{each.name}: {each.detail}"), soft_wrap=True)
    verdict = "answers as stored" if report.ok else "does not answer as stored"
    console.print(printable(f"{report.name} {verdict} ({where})"), soft_wrap=True)
