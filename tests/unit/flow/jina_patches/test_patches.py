"""The list of changes to Jina is complete, and written for the Jina that is installed."""

from __future__ import annotations

import ast
from importlib.metadata import version
from pathlib import Path

import executors
from executors.flow.jina_patches.patches import ELSEWHERE, JINA_VERSION, PATCHES

PACKAGE = Path(executors.__file__).parent


def functions_that_change_jina(path: Path) -> set[str]:
    """Functions (`` for the module itself) of a file that assign to an attribute of something imported from Jina."""
    tree = ast.parse(path.read_text())
    of_jina = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("jina", "jina_cli"):
            of_jina |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names = [alias for alias in node.names if alias.name.split(".")[0] in ("jina", "jina_cli")]
            of_jina |= {alias.asname or alias.name.split(".")[0] for alias in names}
    found = set()
    for part in tree.body:
        for node in ast.walk(part):
            targets = node.targets if isinstance(node, ast.Assign) else []
            for target in targets:
                root: ast.expr = target
                while isinstance(root, ast.Attribute):
                    root = root.value
                if isinstance(target, ast.Attribute) and isinstance(root, ast.Name) and root.id in of_jina:
                    found.add(getattr(part, "name", ""))
    return found


def test_every_change_to_jina_is_in_the_list() -> None:
    listed = {(patch.apply.__module__, patch.apply.__name__) for patch in PATCHES}
    changed = set()
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(("executors", *path.relative_to(PACKAGE).with_suffix("").parts))
        changed |= {(module, name) for name in functions_that_change_jina(path) if module not in ELSEWHERE}
    assert changed <= listed
    # These change Jina by a name that they are handed, what others log of it, or what it calls of docarray.
    others = {"check_parameters", "leave_out_late_failures", "describe_documents_once"}
    assert {name for _, name in listed - changed} == others


def test_each_change_is_listed_once_and_says_why() -> None:
    assert len({patch.apply for patch in PATCHES}) == len(PATCHES)
    for patch in PATCHES:
        assert patch.apply.__doc__
        assert patch.target
        assert patch.why
        assert patch.when_gone


def test_the_list_is_for_the_installed_jina() -> None:
    assert version("jina") == JINA_VERSION, "go through the list: `when_gone` says what to do"
