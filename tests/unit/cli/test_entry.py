from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from executors import __version__
from executors.cli import main
from executors.cli.exit_status import status_of
from executors.cli.parser.command_table import COMMANDS
from executors.cli.parser.parser import make_parser
from executors.cli.service import default_url
from executors.errors import ErrorCode, VisualSearchError
from executors.hosts import reachable_host

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("arguments", [["--help"], *([command, "--help"] for command in COMMANDS)], ids=str)
def test_help_tells_what_the_exit_status_means(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    out = capsys.readouterr().out
    for line in ("0    everything", "1    some documents failed", "2    the command", "3    the service", "130  inter"):
        assert line in out


def test_the_examples_of_the_help_can_be_typed() -> None:
    parser = make_parser()
    examples = [
        re.split(r"   | \| ", line.strip())[0]
        for text in (parser.epilog, *(_subparser(command).epilog for command in COMMANDS))
        for line in str(text).splitlines()
        if line.startswith("  visual-search ")
    ]
    assert len(examples) >= 12
    for example in examples:
        parser.parse_args(shlex.split(example)[1:])


def _subparser(command: str) -> Any:
    subparsers: Any = make_parser()._subparsers
    (choices,) = (action.choices for action in subparsers._group_actions)
    return choices[command]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_row_of_the_table_names_a_function_and_service_commands_take_a_url(name: str) -> None:
    command = COMMANDS[name]
    module, _, function = command.function.partition(":")
    assert callable(getattr(import_module(module), function))
    assert ("--url" in _subparser(name)._option_string_actions) == (command.needs == "service")


def test_the_help_of_index_says_whose_id_it_is_and_what_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", "--help"]) == 0
    shown = capsys.readouterr().out
    for part in ("id_taken", "--prune", "--exclude", "--follow", "--all", "@eaDir", "$RECYCLE.BIN", "first bytes"):
        assert part in shown


def test_the_help_of_index_says_that_deleted_documents_are_sent_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", "--help"]) == 0
    assert "one that was\ndeleted since is sent again" in capsys.readouterr().out


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_tags_that_json_cannot_carry_are_refused_for_what_they_are(
    number: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["index", str(tmp_path), "--url", "127.0.0.1:9", "--tags", f'{{"a": {number}}}']) == 2
    assert "NaN and infinite numbers are not JSON" in capsys.readouterr().err


def test_a_tag_that_is_named_twice_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", str(tmp_path), "--url", "127.0.0.1:9", "--tags", '{"a": 1, "a": 2}']) == 2
    assert "the key 'a' twice" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ('{"price": {"$less": 1}}', "filter.price.$less: an unknown operator"),
        ('{"$or": [{"a": 1}, {"b": [1]}]}', "filter.$or[1].b: a list cannot be compared with"),
        ("{price: 1}", "not JSON: Expecting property name"),
        ('{"n": 9007199254740993}', "filter.n: is beyond ±2^53"),
        ('{"n": {"$gt": 1, "$gt": 2}}', "the key '$gt' twice"),
    ],
)
def test_a_bad_filter_is_an_error_that_says_what_and_where_before_anything_is_sent(
    given: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["count", "--url", "127.0.0.1:9", "--filter", given]) == 2
    err = capsys.readouterr().err
    assert "invalid_filter: " in err
    assert says in err


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"visual-search {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["index"],
        ["index", ".", "--tags", "[1]"],
        ["index", ".", "--tags", "{"],
        ["index", ".", "--tags", '{"a": NaN}'],
        ["index", ".", "--tags", '{"a": [-Infinity]}'],
        ["index", ".", "--tags", '{"a": {"b": 1e999}}'],
        ["index", ".", "--requests", "0"],
        ["index", ".", "--id", "name"],
        ["index", ".", "--no-shr"],
        ["search"],
        ["search", "a.jpg", "--like", "b"],
        ["search", "a.jpg", "--limit", "none"],
        ["search", "a.jpg", "--threshold", "1.5"],
        ["search", "a.jpg", "--score-max", "1.5"],
        ["search", "a.jpg", "--like", "b", "--more-like", "c"],
        ["status", "--url", "ftp://host"],
        ["status", "--timeout", "nan"],
        ["index", "no-such-folder"],
        ["models"],
        ["get"],
        ["count", "--filter", "{"],
        ["count", "--filter", "[1]"],
        ["search", "a.jpg", "--filter", '{"n": {"$less": 1}}'],
        ["search", "a.jpg", "--filter", '{"n": NaN}'],
        ["search", "a.jpg", "--ef", "0"],
        ["search", "a.jpg", "--ef", "10001"],
        ["search", "a.jpg", "--fields", "uri,,tags"],
        ["delete"],
        ["delete", "a", "--filter", '{"n": 1}'],
        ["delete", "--filter", "{}", "--yes"],
        ["collections", "create"],
        ["collections", "create", "a", "--dimension", "0"],
        ["collections", "remove", "a"],
        ["import", "-", "--resume"],
        ["export", "-", "--resume"],
    ],
    ids=str,
)
def test_what_is_typed_wrongly_ends_with_2_and_a_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert "error:" in captured.err
    assert "Traceback" not in captured.err


def test_a_wrong_setting_ends_with_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("VS_HTTP_PORT", "many")
    assert main(["status"]) == 2
    assert "VS_HTTP_PORT" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("unavailable", 3),
        ("shard_missing", 3),
        ("overloaded", 3),
        ("deadline_exceeded", 3),
        ("forbidden_host", 3),
        ("invalid_parameter", 2),
        ("invalid_filter", 2),
        ("not_found", 1),
        ("internal", 1),
        ("model_missing", 1),
    ],
)
def test_every_error_has_its_exit_status(code: ErrorCode, status: int) -> None:
    assert status_of(VisualSearchError(code, "")) == status


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("0.0.0.0", "127.0.0.1"),
        ("::", "[::1]"),
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "[2001:db8::1]"),
        ("localhost", "localhost"),
    ],
)
def test_a_service_that_listens_everywhere_is_reached_on_loopback(host: str, reached: str) -> None:
    assert reachable_host(host) == reached


def test_the_default_url_follows_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VS_HOST", raising=False)
    monkeypatch.setenv("VS_HTTP_PORT", "18099")
    assert default_url() == "http://127.0.0.1:18099"


@pytest.mark.parametrize("command", ["--help", *(each for each in COMMANDS if each != "serve")])
def test_no_command_but_serve_imports_jina(command: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"{}")
    arguments = {"--help": [], "status": [], "index": ["."], "search": ["x.jpg"], "verify": [], "models": ["list"]}
    arguments |= {"count": ["--filter", '{"a": 1}'], "export": [str(tmp_path / "y")], "import": [str(tmp_path / "x")]}
    arguments |= {"collections": [], "reindex": []}
    code = (
        "import sys; from executors.cli import main; "
        f"main([{command!r}, *{arguments.get(command, ['id'])!r}, *{_url(command)!r}]); "
        "print([name for name in ('jina', 'docarray', 'fastapi') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def _url(command: str) -> list[str]:
    return [] if command in ("--help", "models") else ["--url", "127.0.0.1:9"]


def test_serve_with_a_flow_that_is_not_there_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "no-such-flow.yml"]) == 1
    assert "no-such-flow.yml" in capsys.readouterr().err
