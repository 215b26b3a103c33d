"""The README's tables say what the code says; `python -m tests.unit.test_readme` writes them anew."""

import re
from pathlib import Path

from pydantic_core import PydanticUndefined

from executors.errors import ERRORS
from executors.opensearch_settings import OpenSearchSettings
from executors.settings import Settings

README = Path(__file__).parents[2] / "README.md"


def settings_table() -> str:
    rows = ["| Variable | Default | What |", "|---|---|---|"]
    # Those of the other store come last.
    for name, field in sorted(
        Settings.model_fields.items(), key=lambda item: item[0] in OpenSearchSettings.model_fields
    ):
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


def with_tables(readme: str) -> str:
    for name, table in (("settings", settings_table()), ("errors", errors_table())):
        marked = f"<!-- {name} -->\n{table}\n<!-- /{name} -->"
        readme = re.sub(rf"<!-- {name} -->.*<!-- /{name} -->", lambda _, text=marked: text, readme, flags=re.DOTALL)
    return readme


def test_the_tables_of_settings_and_errors_are_those_of_the_code() -> None:
    assert with_tables(README.read_text()) == README.read_text()


def test_every_dependency_earns_its_place_in_a_line() -> None:
    project = (README.parent / "pyproject.toml").read_text()
    names = re.findall(r'^\s*"([A-Za-z][A-Za-z0-9_-]*)[=<>]', project, flags=re.MULTILINE)
    table = README.read_text().split("## Dependencies")[1].split("\n## ")[0]
    assert [name for name in names if not re.search(rf"\b{name}\b", table)] == []
    assert len(names) > 20


def test_every_link_to_a_file_leads_to_one() -> None:
    text = re.sub(r"```.*?```", "", README.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#:]+)\)", text)
    assert targets
    assert [target for target in targets if not (README.parent / target).exists()] == []


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text()))
