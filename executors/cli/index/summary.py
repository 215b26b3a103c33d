"""The output of `index`: results, files that were left out, and files that are gone, as text and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from executors.cli import outcome
from executors.cli.index.files import OUTSIDE, SPECIAL, LeftOut, Scan
from executors.cli.index.gone import Gone, GoneFile
from executors.cli.index.kinds import OTHER
from executors.cli.index.selection import SYSTEM
from executors.cli.index.state import FileResult
from executors.cli.terminal.output import count_of, printable
from executors.errors import VisualSearchError

_SHOWN_NAMES = 3
_PLURALS = {
    SYSTEM: "system folders",
    OUTSIDE: "links out of the folder",
    SPECIAL: "pipes, sockets or devices",
    OTHER.name: "other files",
}


def result_to_json(result: FileResult) -> dict[str, object]:
    """The result of one file as JSON."""
    return {
        "path": result.file.path,
        "id": result.id,
        "result": result.result,
        "error": result.error.to_json() if result.error else None,
    }


def left_out_to_json(left_out: LeftOut) -> dict[str, object]:
    """A file or folder that was left out, as JSON."""
    error = not_read(left_out).to_json() if left_out.is_missed else None
    return {"path": left_out.file.path, "id": None, "result": "left_out", "kind": left_out.kind, "error": error}


def gone_to_json(gone: GoneFile, result: str) -> dict[str, object]:
    """A document whose file is gone, as JSON; `result` is `gone`, `pruned` or `kept`."""
    return {"path": gone.path, "id": gone.sent.document_id, "result": result, "error": None}


def totals_to_json(scan: Scan, gone: Gone) -> dict[str, object]:
    """The counts as JSON: the last line, if anything was left out or is gone."""
    return {
        "path": None,
        "id": None,
        "result": "totals",
        "left_out": dict(scan.left_out_by_kind),
        "not_read": sum(each.is_missed for each in scan.left_out),
        "gone": len(gone.files) + len(gone.doubtful),
        "renamed": len(gone.renamed),
        "error": None,
    }


def not_read(left_out: LeftOut) -> VisualSearchError:
    """The error of a picture or video in an unsupported format."""
    return VisualSearchError("unsupported_format", f"files of this kind are not supported: {left_out.kind}")


def print_failures(console: Console, failures: Sequence[FileResult]) -> None:
    """Print the first files that failed, with their errors."""
    rows = [({"file": each.file.name}, each.error) for each in failures]
    codes = Counter[str](each.error.code for each in failures if each.error)
    outcome.print_failures(console, rows, codes, noun="file", where_all_are="--report FILE.csv")


def print_left_out(console: Console, left_out: Sequence[LeftOut]) -> None:
    """Print how many files of each kind were left out; first those that a user may miss, with some names."""
    missed = [each for each in left_out if each.is_missed]
    if missed:
        line = Text("left out, because their kind is not supported: ", style="red")
        console.print(line.append(_counts(missed)), soft_wrap=True)
        names = ", ".join(printable(each.file.name) for each in missed[:_SHOWN_NAMES])
        more = f" … ({len(missed):,} in all; --json lists them)" if len(missed) > _SHOWN_NAMES else ""
        console.print(f"  {names}{more}", soft_wrap=True)
    if others := [each for each in left_out if not each.is_missed]:
        console.print(f"left out: {_counts(others)}", soft_wrap=True)


def print_gone(console: Console, gone: Gone, *, prune: bool) -> None:
    """Print how many indexed files are gone, and how to remove their documents."""
    if gone.files:
        how = "" if prune else "; --prune removes them from the index"
        console.print(
            f"{count_of(len(gone.files), 'file')} that {_were(gone.files)} indexed from here {_is(gone.files)} gone{how}",
            soft_wrap=True,
        )
    if gone.doubtful:
        console.print(
            f"{count_of(len(gone.doubtful), 'file')} that {_were(gone.doubtful)} indexed from here can't be seen, such as "
            f"{printable(gone.doubtful[0].path)!r}: its folder is empty, or has none of the files that were indexed from it. "
            "Perhaps a disk is not mounted",
            soft_wrap=True,
        )
    if gone.renamed:
        how = "" if prune else "; --prune removes the older document"
        console.print(
            f"{count_of(len(gone.renamed), 'file')} {_is(gone.renamed)} in the index twice, also under the id of an earlier run "
            f"with another --id-prefix{how}",
            soft_wrap=True,
        )


def _counts(left_out: Sequence[LeftOut]) -> str:
    counts = Counter(each.kind for each in left_out)
    return ", ".join(
        f"{count:,} {_PLURALS.get(kind, kind) if count > 1 else kind}" for kind, count in counts.most_common()
    )


def _were(files: Sequence[GoneFile]) -> str:
    return "was" if len(files) == 1 else "were"


def _is(files: Sequence[GoneFile]) -> str:
    return "is" if len(files) == 1 else "are"
