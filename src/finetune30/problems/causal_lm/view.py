"""The blocks that show what a language model learnt: beside the base model without its adapter, with some answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from finetune30.blocks import Block, Column, Figure, Format, Table, Words
from finetune30.problems.causal_lm.conclusion_names import BASE, EXAMPLES, GENERAL, NOTHING_NEW
from finetune30.values import is_number

_BASE_MODEL = Words("the base model", "基礎模型")
_FIGURES: tuple[tuple[str, Words, Format], ...] = (
    ("eval_loss", Words("Evaluation loss", "評估損失"), "number"),
    ("eval_perplexity", Words("Perplexity", "困惑度"), "number"),
    ("eval_token_accuracy", Words("Tokens predicted rightly", "預測正確的 token"), "percent"),
    ("eval_exact_match", Words("Answers word for word", "逐字相同的回答"), "percent"),
    ("eval_chrf", Words("Likeness of answers (chrF)", "回答相似度（chrF）"), "percent"),
    ("eval_expected_share", Words("Answers that hold what is expected", "含有預期內容的回答"), "percent"),
    ("eval_answers_ended", Words("Answers that end by themselves", "自行結束的回答"), "percent"),
    (GENERAL, Words("Loss on general conversations", "一般對話的損失"), "number"),
    ("train_memorised", Words("Training answers known by heart", "背下來的訓練回答"), "percent"),
    (
        NOTHING_NEW,
        Words(
            "Teaches nothing new (training answers of the base model)", "沒有教到新東西（基礎模型原本就會的訓練回答）"
        ),
        "percent",
    ),
)


def view_language_model(metrics: Mapping[str, Any]) -> list[Block]:
    """Return losses and answers beside those of the base model, tokens by kind, and some answers side by side.

    metrics: the tree of a run's metrics.json; what older ones lack is left out.
    """
    rows = metrics.get("eval_samples")
    drawn: list[Block] = []
    for key, title, form in _FIGURES:
        if not is_number(metrics.get(key)):
            continue
        before: Any = metrics.get(f"{BASE}{key}")
        drawn.append(
            Figure(
                title,
                metrics[key],
                form,
                rows=rows if key == "eval_loss" and isinstance(rows, int) else None,
                baseline=(_BASE_MODEL, float(before)) if is_number(before) else None,
            )
        )
    return [*drawn, *_tokens(metrics.get("token_ledger")), *_examples(metrics.get(EXAMPLES))]


def _tokens(ledger: Any) -> list[Block]:
    if not isinstance(ledger, Mapping) or not ledger:
        return []
    names = {
        "train": Words("training", "訓練"),
        "evaluation": Words("evaluation", "評估"),
    }
    kinds = (
        ("total", Words("Tokens", "Token 總數")),
        ("supervised", Words("Supervised", "計入損失")),
        ("context", Words("Context", "上下文")),
        ("template", Words("Template", "模板")),
        ("truncated", Words("Cut", "截去")),
    )
    columns = (Column(Words("Rows", "資料"), "text"), *(Column(title, "count") for _, title in kinds))
    found = tuple(
        (names[split].en, *(counts.get(kind) for kind, _ in kinds))
        for split, counts in ledger.items()
        if split in names and isinstance(counts, Mapping)
    )
    return [Table(Words("Where the tokens went", "Token 去向"), columns, found)] if found else []


def _examples(found: Any) -> list[Block]:
    if not isinstance(found, list) or not found:
        return []
    columns = tuple(
        Column(title, "text")
        for title in (
            Words("Question", "問題"),
            Words("Wanted", "期望的回答"),
            Words("Base model", "基礎模型"),
            Words("This model", "此模型"),
        )
    )
    cells = tuple(
        tuple(row.get(key) for key in ("question", "reference", "base_answer", "answer"))
        for row in found
        if isinstance(row, Mapping)
    )
    return [Table(Words("Some answers side by side", "部分回答對照"), columns, cells, is_sample=True)]
