"""The README files: their tables are made from the code, and their links lead somewhere.

`python -m tests.unit.test_readme` writes the tables anew.
"""

import re
import tomllib
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined

from executors.errors import ERRORS
from executors.settings import Settings

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
READMES = [
    README,
    *sorted(each for top in ("deploy", "executors", "flows", "tests") for each in ROOT.glob(f"{top}/**/README.md")),
]


def settings_table() -> str:
    rows = ["| Variable | Default | What |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = field.default
        if default is PydanticUndefined:
            folder = Settings.model_fields[name].get_default(call_default_factory=True)
            default = f"`visual-search/{folder.name}` in the user's data folder"
        else:
            default = f"`{default}`" if default not in ((), None) else ""
        rows.append(f"| `VS_{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows)


def errors_table() -> str:
    rows = ["| Code | Status | Meaning |", "|---|---|---|"]
    rows += [f"| `{code}` | {kind.status} | {kind.meaning} |" for code, kind in ERRORS.items()]
    return "\n".join(rows)


# Which file holds which table, between the comments `<!-- name -->` and `<!-- /name -->`.
TABLES = {
    "settings": (ROOT / "flows" / "README.md", settings_table),
    "errors": (ROOT / "executors" / "gateway" / "README.md", errors_table),
}


def with_table(text: str, name: str, table: str) -> str:
    marked = f"<!-- {name} -->\n{table}\n<!-- /{name} -->"
    return re.sub(rf"<!-- {name} -->.*<!-- /{name} -->", lambda _: marked, text, flags=re.DOTALL)


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_of_settings_and_errors_are_those_of_the_code(name: str) -> None:
    file, table = TABLES[name]
    assert f"<!-- {name} -->" in file.read_text()
    assert with_table(file.read_text(), name, table()) == file.read_text()


def test_every_dependency_has_its_reason_in_a_comment() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    content = tomllib.loads(text)
    project = content["project"]
    groups = [*project["optional-dependencies"].values(), *content["dependency-groups"].values()]
    needed = [*project["dependencies"], *(each for group in groups for each in group)]
    lines = text.partition("\n[project]\n")[2].splitlines()
    for requirement in needed:
        at = next(number for number, line in enumerate(lines) if f'"{requirement}"' in line)
        # A comment stands above the requirement, or above the first one of its group.
        while lines[at].strip().startswith('"'):
            at -= 1
        comment = lines[at] if lines[at].strip().startswith("#") else lines[at - 1]
        assert comment.strip().startswith("#"), requirement
    assert len(needed) > 20


@pytest.mark.parametrize("file", READMES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading_in_it(file: Path) -> None:
    text = re.sub(r"```.*?```", "", file.read_text(), flags=re.DOTALL)
    for target, _, heading in (link.partition("#") for link in re.findall(r"\]\(([^):]+)\)", text)):
        linked = file.parent / target if target else file
        assert linked.exists(), target
        assert not heading or heading in headings(linked), f"{target}#{heading}"


def headings(file: Path) -> set[str]:
    """The headings of a Markdown file as the ends of links: lower case, spaces as dashes, without punctuation."""
    text = re.sub(r"```.*?```", "", file.read_text(), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_first_readme_is_short_and_links_to_all_others() -> None:
    assert len(README.read_text().splitlines()) <= 220
    linked = {(ROOT / target).resolve() for target in re.findall(r"\]\(([^):#]+)\)", README.read_text())}
    missing = [each for each in READMES[1:] if not {each, each.parent} & linked]
    assert missing == []


def test_the_map_names_files_and_functions_that_exist() -> None:
    named = re.findall(r"`((?:\w+/)+\w+\.py)(?::(\w+))?`", (ROOT / "executors" / "README.md").read_text())
    missing = []
    for path, name in named:
        folders = ("executors", "executors/index/embedded", "executors/index/opensearch", ".")
        file = next((ROOT / folder / path for folder in folders if (ROOT / folder / path).is_file()), None)
        if file is None or (
            name and not re.search(rf"^ *(?:async def|def|class) {name}\b", file.read_text(), re.MULTILINE)
        ):
            missing.append(f"{path}:{name}")
    assert missing == []
    assert len(named) > 50


if __name__ == "__main__":
    for name, (file, table) in TABLES.items():
        file.write_text(with_table(file.read_text(), name, table()))
