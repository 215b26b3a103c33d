from __future__ import annotations

from pathlib import Path

import pytest

from executors.cli.transfer.part_file import PartFile
from executors.errors import VisualSearchError


def part_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"the one before")
    file = PartFile(path, resume=False)
    file.write(b"{1}\n")
    assert path.read_bytes() == b"the one before"
    file.finish()
    file.close()
    assert path.read_bytes() == b"{1}\n"
    assert not part_of(path).exists()


@pytest.mark.parametrize(
    ("left", "kept", "last"),
    [
        (b"", b"", b""),
        (b"{1", b"", b""),
        (b"{1}\n", b"{1}\n", b"{1}\n"),
        (b"{1}", b"", b""),
        (b"{1}\n{2}\n{3", b"{1}\n{2}\n", b"{2}\n"),
        (b"{1}\n{2}\n" + bytes(5000), b"{1}\n{2}\n", b"{2}\n"),
        (b"{1}\n{\0}\n{3}\n", b"{1}\n", b"{1}\n"),
        (b"{1}\n2}\n{3}\n", b"{1}\n", b"{1}\n"),
    ],
    ids=repr,
)
def test_what_was_torn_is_cut_and_the_rest_is_gone_on_with(
    left: bytes, kept: bytes, last: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "x"
    part_of(path).write_bytes(left)
    file = PartFile(path, resume=True)
    assert (file.last, file.lines) == (last, kept.count(b"\n"))
    file.write(b"{9}\n")
    file.finish()
    file.close()
    assert path.read_bytes() == kept + b"{9}\n"


def test_a_part_that_is_there_is_not_overwritten_without_being_told(tmp_path: Path) -> None:
    part_of(tmp_path / "x").write_bytes(b"{1}\n")
    with pytest.raises(VisualSearchError, match="Use --resume to continue it") as raised:
        PartFile(tmp_path / "x", resume=False)
    assert raised.value.code == "invalid_parameter"
    assert part_of(tmp_path / "x").read_bytes() == b"{1}\n"


def test_two_processes_do_not_write_one_file(tmp_path: Path) -> None:
    first = PartFile(tmp_path / "x", resume=True)
    with pytest.raises(VisualSearchError, match="another process"):
        PartFile(tmp_path / "x", resume=True)
    first.close()
    PartFile(tmp_path / "x", resume=True).close()


def test_where_nothing_can_be_written_the_error_says_so(tmp_path: Path) -> None:
    with pytest.raises(VisualSearchError, match="can't be written: No such file or directory"):
        PartFile(tmp_path / "nowhere" / "x", resume=False)
