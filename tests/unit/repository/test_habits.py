"""Files that tools of the trade read: they parse, and what they call exists."""

from __future__ import annotations

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]


def test_hooks_run_what_make_check_runs_with_the_same_tools():
    tree = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook for repo in tree["repos"] for hook in repo["hooks"]]
    assert {repo["repo"] for repo in tree["repos"]} == {"local"}
    checked = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\ncheck:")[2].partition("\n\n")[0]
    for tool in ("ruff check", "ruff format", "mypy", "lint-imports"):
        assert any(tool in hook["entry"] for hook in hooks)
        assert tool in checked


def test_issue_forms_parse_and_ask_something():
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert path.name == "config.yml" or all(part["attributes"]["label"] for part in tree["body"])
