"""A fragment is drawn on the page on which it lies, also where a browser still thinks that it is on another one.

Side bar and connection are fragments that browsers ask for anew every few seconds. Such a question names the page that
the browser shows. Where the server has just switched to another page (a run was submitted, a name was pressed), the
question of the moment before names the old one; Streamlit 1.67 then tells the browser that the page has changed back,
which empties the window, and draws nothing but the fragment. So the page of a fragment is taken from the session.
"""

from __future__ import annotations

from dataclasses import replace
from functools import wraps
from typing import Any

from streamlit.runtime.scriptrunner.script_runner import ScriptRunner
from streamlit.runtime.scriptrunner_utils.script_requests import RerunData


def keep_pages() -> None:
    """Let every script runner of this process draw fragments on the page of their session; twice does nothing more."""
    draw = ScriptRunner._run_script
    if hasattr(draw, "__wrapped__"):
        return

    @wraps(draw)
    def draw_in_place(runner: Any, asked: RerunData) -> None:
        context = runner._get_script_run_ctx()
        draw(runner, stay(asked, context.page_script_hash, context.query_string))

    ScriptRunner._run_script = draw_in_place  # type: ignore[method-assign,assignment]


def stay(asked: RerunData, page: str, query: str) -> RerunData:
    """Return what is drawn: the same, but fragments on the page (its hash) that the session shows with `query`."""
    if not asked.fragment_id_queue or not page or asked.page_script_hash == page:
        return asked
    return replace(asked, page_script_hash=page, page_name="", query_string=query)
