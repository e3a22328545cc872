"""Part of Data: a row of a version as a language model is trained on it, token by token."""

from __future__ import annotations

from typing import Any

import streamlit as st

from finetune30.ui.session import t
from finetune30.ui.tokens import show_row_tokens

Json = dict[str, Any]

SPLITS = ("train", "evaluation")


def show(version: Json) -> None:
    """Show the row that is chosen by its number, as the model that is named reads it."""
    rows = {split: count for split in SPLITS if (count := (version.get("rows") or {}).get(split))}
    digest = str(version["digest"])
    with st.container(horizontal=True, vertical_alignment="bottom"):
        split = st.segmented_control(
            t("ledger.split"),
            list(rows),
            default=next(iter(rows)),
            required=True,
            format_func=lambda name: t(f"split.{name}"),
            key=f"token_split-{digest[:12]}",
        )
        number = st.number_input(
            t("tokens.number"), 1, rows[str(split)], key=f"token_row-{digest[:12]}-{split}", width=180
        )
        model = st.text_input(
            t("tokens.model"), help=t("tokens.model_help"), placeholder="starter-chat", max_chars=200, key="token_model"
        ).strip()
    name = f"version:{digest[:12]}"  # by which its rows are called
    data = {"dataset_name": name, "train_samples": None, "eval_samples": None}
    tree = {"data": data, **({"model": {"name": model}} if model else {})}
    show_row_tokens({"config": tree}, f"{name}/{split}:{number}")
