"""Only `problems` knows what a problem is called: whatever else names one would have to be edited for the next one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import finetune30
from finetune30.config.problem_types import OWN_PROBLEM_TYPES
from finetune30.problems import PROBLEMS

PACKAGE = Path(finetune30.__file__).parent
#: The schema lists the names that a configuration may use.
ALLOWED = {PACKAGE / "config" / "problem_types.py"}
#: Beginnings that tell problems apart, as in `startswith("single")`.
BEGINNINGS = {name[:length] for name in PROBLEMS for length in range(3, len(name))}


def names_in(path: Path, root: Path = PACKAGE) -> list[str]:
    """Return the places of a module where a problem's name is a value, or is asked for by its beginning."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and node.value in PROBLEMS:
            found.append(f"{path.relative_to(root)}:{node.lineno}: {node.value}")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "startswith":
            asked = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
            found += [f"{path.relative_to(root)}:{node.lineno}: {text}" for text in asked if text in BEGINNINGS]
    return found


def test_no_module_outside_problems_names_a_problem() -> None:
    others = [p for p in sorted(PACKAGE.rglob("*.py")) if p.relative_to(PACKAGE).parts[0] != "problems"]
    assert [place for path in others if path not in ALLOWED for place in names_in(path)] == []


def test_the_test_sees_what_it_looks_for(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text('if kind.startswith("single") or kind == "regression":\n    pass\n', encoding="utf-8")
    assert set(names_in(module, tmp_path)) == {"module.py:1: regression", "module.py:1: single"}


def test_no_module_outside_problems_imports_one_of_them() -> None:
    packages = {package.rpartition(".")[2] for package in PROBLEMS.values()}
    wanted = re.compile(rf"finetune30\.problems\.({'|'.join(sorted(packages))})\b")
    found = [
        str(path.relative_to(PACKAGE))
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.relative_to(PACKAGE).parts[0] != "problems" and wanted.search(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_the_schema_allows_what_there_is() -> None:
    assert tuple(PROBLEMS) == OWN_PROBLEM_TYPES
