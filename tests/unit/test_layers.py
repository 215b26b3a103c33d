"""The rule of imports: a package imports only itself and the rows below it, also in lazy imports."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]
# From the ground floor up. Packages of one row don't know each other.
LAYERS = (
    ("__version__", "errors", "cores", "hosts", "process_figures", "request_id"),
    ("devices", "document_values", "lifecycle", "files", "scheduling"),
    ("document_faults", "exact_json", "parameter_values", "settings", "keys"),
    # The one change to Jina that every program with documents to send needs.
    ("flow.jina_patches.parameters", "client"),
    ("documents",),
    ("document_bytes",),
    ("models", "triton_server"),
    ("preprocess", "embed", "index"),
    ("flow",),
    ("gateway",),
    ("cli",),
    ("demo",),
)
LEVELS = {name: level for level, names in enumerate(LAYERS) for name in names}
# Where Jina and notebooks look for parts of `flow`.
OTHER_NAMES = {"bootstrap": "flow", "serve": "flow"}
INDEX_FOR_THE_GATEWAY = ("wire", "records", "filters", "versions")


def imports() -> Iterator[tuple[str, str]]:
    """Yield each import as a pair of modules below `executors`: the importer and the imported one."""
    files = {module_of(file): file for file in (ROOT / "executors").rglob("*.py")}
    for importer, file in files.items():
        for node in ast.walk(ast.parse(file.read_text())):
            names = [each.name for each in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, file
                names = [f"{node.module}.{name}" for name in names]
            for name in names:
                module, _, rest = name.partition(".")
                if module == "executors":
                    while rest not in files and "." in rest:  # a name in a module
                        rest = rest.rpartition(".")[0]
                    yield importer, rest


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT / "executors").with_suffix("").parts)


def room_of(module: str) -> str:
    return module if module in LEVELS else OTHER_NAMES.get(module, module.partition(".")[0])


def test_nothing_imports_upward_or_sideways() -> None:
    rooms = {(room_of(importer), room_of(imported), importer) for importer, imported in imports()}
    unknown = {room for upper, lower, _ in rooms for room in (upper, lower)} - set(LEVELS) - {"__init__"}
    assert unknown == set(), "these packages have no row in LAYERS"
    wrong = [
        f"{importer} imports {lower}"
        for upper, lower, importer in sorted(rooms)
        if upper not in ("__init__", lower) and LEVELS[upper] <= LEVELS[lower]
    ]
    assert wrong == []
    assert len(rooms) > 100


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for importer, imported in imports():
        graph.setdefault(importer, set()).add(imported)
    TopologicalSorter(graph).prepare()


def test_the_gateway_knows_the_wire_of_the_index_but_not_its_stores() -> None:
    known = {
        module for importer, module in imports() if importer.startswith("gateway.") and module.startswith("index.")
    }
    assert {module.split(".")[1] for module in known} <= set(INDEX_FOR_THE_GATEWAY)


def test_no_folder_has_more_than_20_modules() -> None:
    files = [file for top in ("executors", "tests") for file in (ROOT / top).rglob("*.py")]
    crowded = {str(folder): count for folder, count in Counter(file.parent for file in files).items() if count > 20}
    assert crowded == {}
