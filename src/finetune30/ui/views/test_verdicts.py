"""Compare, of two runs: which is better on the rows that are kept for a test, each opening of which counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from finetune30.ui import display
from finetune30.ui.confirmation import confirmed_button, take_done
from finetune30.ui.run_header import show_error_card
from finetune30.ui.session import ask, client, t
from finetune30.ui.views.verdicts import show_pairs

Json = dict[str, Any]


def show(first: str, second: str, names: Mapping[str, str]) -> None:
    """Show what was said of two runs on their test rows, and a button that looks at both; names are by id."""
    st.header(t("compare.test"), anchor=False)
    key = f"test-{first}-{second}"
    if take_done(key):
        st.session_state[f"asked-{key}"] = True
    one, other = (ask(lambda run_id=run_id: client().load_test_looks(run_id)) for run_id in (first, second))  # type: ignore[misc]
    if one is None or other is None:
        return
    found = (one, other)
    said = [look["verdict"] for look in found[0]["looks"] if _is_of(look["verdict"], first, second)]
    for verdict in said[-1:]:
        show_pairs([verdict], names)
        looks = verdict["looks"]
        st.caption(t("compare.test_looks", first=looks[first], second=looks[second], verdicts=len(said)))
    if any(one["state"] == "looking" for one in found):
        st.info(t("compare.test_runs"), icon=":material/hourglass_top:")
        return
    if st.session_state.pop(f"asked-{key}", False):
        show_error_card(found[0].get("error"), final=True)
    counts = [len(one["looks"]) + 1 for one in found]
    shown = {f"{place}_name": display.plain(names[run], 80) for place, run in (("first", first), ("second", second))}
    confirmed_button(
        t("compare.test_open"),
        t("compare.test_question", first=counts[0], second=counts[1], **shown),
        lambda: client().open_test_rows(first, second),
        key=key,
        icon=":material/quiz:",
        confirm=t("run.test_confirm"),
    )


def _is_of(verdict: Json | None, first: str, second: str) -> bool:
    """Whether a verdict is about these two runs, in whichever order."""
    return verdict is not None and {verdict["first"], verdict["second"]} == {first, second}
