"""What axe-core finds on the page that keeps people out who see, hear or point in other ways."""

from __future__ import annotations

from typing import Any

import pytest

from support.page_marks import AT_REST

axe: Any = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

#: Findings in what Streamlit draws and neither words nor CSS reach; docs/page.md lists them with its version.
REST = {"presentation-role-conflict"}
OPTIONS = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}
OPEN_ALL = "document.querySelectorAll('details:not([open]) > summary').forEach(summary => summary.click())"

#: Nothing fades in or moves any more: what is drawn anew is paler for a moment, and would be read so.
SETTLED = """!document.querySelector('[data-stale=true]') && document.getAnimations().every(
    one => one.playState !== 'running' || one.effect?.getComputedTiming().endTime === Infinity)"""


def find_faults(page: Any) -> list[str]:
    """Return what axe finds in a view at rest, everything unfolded, but what nobody here can mend: rule, place, why."""
    page.locator(AT_REST).wait_for()
    page.evaluate(OPEN_ALL)
    page.wait_for_timeout(300)  # what unfolds moves
    page.locator(AT_REST).wait_for()
    page.wait_for_function(SETTLED)
    violations = axe.Axe().run(page, options=OPTIONS).response["violations"]
    return [
        f"{rule['id']}: {node['html'][:120]} {node.get('failureSummary', '')[:200]}"
        for rule in violations
        if rule["id"] not in REST
        for node in rule["nodes"]
    ]
