"""What Jina does for nothing while a flow starts, and no longer does: each is seen in Jina as it is, and as it was changed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys, warnings
if sys.argv[1] == "changed":
    import executors.bootstrap
import docarray.utils.create_dynamic_doc_class as dynamic
import jina_cli.lookup
from docarray import BaseDoc
from jina import Flow
from jina.helper import ArgNamespace
from jina.parsers import set_gateway_parser

built = []
build = jina_cli.lookup._build_lookup_table
jina_cli.lookup._build_lookup_table = lambda: built.append(1) or build()
Flow(name="f", timeout_send=1000)
tables = len(built)
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    ArgNamespace.kwargs2namespace({"no_such_argument": 1}, set_gateway_parser(), True)
unknown = [str(each.message) for each in seen if "no-such-argument" in str(each.message)]


class Picture(BaseDoc):
    text: str = ""


class Answer(BaseDoc):
    score: float = 0.0


first, again = (dynamic.create_pure_python_type_model(Picture) for _ in range(2))
described = Picture.schema()
described["properties"].clear()
print(json.dumps({
    "tables": tables,
    "unknown": len(unknown),
    "once": first is again,
    "pure": sorted(first.schema()["properties"]),
    "schema": sorted(Picture.schema()["properties"]),
    "other": sorted(Answer.schema()["properties"]),
    "by_reference": sorted(Picture.schema(ref_template="#/x/{model}")["properties"]),
}))
"""


def seen(which: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, which], capture_output=True, text=True, check=True, timeout=90
    )
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def changed() -> dict[str, object]:
    return seen("changed")


@pytest.fixture(scope="module")
def plain() -> dict[str, object]:
    return seen("plain")


def test_a_table_of_all_arguments_is_made_only_for_an_unknown_one(
    changed: dict[str, object], plain: dict[str, object]
) -> None:
    assert (plain["tables"], changed["tables"]) == (1, 0)
    assert changed["unknown"] == plain["unknown"] == 1


def test_a_type_of_document_is_described_once(changed: dict[str, object], plain: dict[str, object]) -> None:
    assert (plain["once"], changed["once"]) == (False, True)


@pytest.mark.parametrize("name", ["pure", "schema", "other", "by_reference"])
def test_descriptions_are_those_of_jina_and_no_caller_can_change_them(
    changed: dict[str, object], plain: dict[str, object], name: str
) -> None:
    assert changed[name] == plain[name]
    assert changed[name]
