"""docs/interoperability.md names a test for each fact, and each of them is there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "interoperability.md").read_text()
NAMED = sorted(set(re.findall(r"`((?:…|tests/)[\w/]+\.py)::(\w+)`", PAGE)))
ROWS = [
    line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| client, and") and "---" not in line
]


@cache
def defined_in(path: Path) -> frozenset[str]:
    """Return the names of the tests that a file defines."""
    nodes = ast.parse(path.read_text()).body
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"))


@pytest.mark.parametrize(("file", "test"), NAMED, ids=[test for _, test in NAMED])
def test_a_test_that_the_page_names_exists(file: str, test: str) -> None:
    path = ROOT / file.replace("…", "tests/scep/")
    assert path.is_file()
    assert test in defined_in(path)


def test_every_fact_names_a_test() -> None:
    assert len(ROWS) > 40
    for row in ROWS:
        assert "::test_" in row or row.startswith("| program |"), row


def test_the_readme_leads_to_the_page() -> None:
    assert "(docs/interoperability.md)" in (ROOT / "README.md").read_text()
