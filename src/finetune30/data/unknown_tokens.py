"""Text that a tokenizer has no token for: how much of the rows it is, from when on that is said, and what helps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetune30.blocks import Words

if TYPE_CHECKING:
    import polars as pl

#: Shares of unknown tokens above which a warning is due, and above which nothing can be learnt from such rows. A
#: vocabulary made for a language leaves well under 1 % unknown; BERT's English one leaves two thirds of Chinese.
WARNING_SHARE, MOST_SHARE = 0.05, 0.30

_ROWS_LOOKED_AT = 1000
_ANY_SCRIPT = ("xlm-roberta-base", "distilbert-base-multilingual-cased")
_BASES = {"Han": ("bert-base-chinese (preset starter_zh)", *_ANY_SCRIPT)}
_ROWS = {
    "train": Words("training rows", "訓練資料"),
    "evaluation": Words("evaluation rows", "評估資料"),
    "": Words("rows", "資料"),
}


def describe_unknown(unknown: int, tokens: int, model: str, split: str = "") -> Words:
    """Return what is said of `unknown` among `tokens` tokens of a split (train, evaluation; "": of rows in general)."""
    share, rows = f"{100 * unknown / tokens:.1f} %", _ROWS[split]
    return Words(
        f"{share} of the {tokens:,} tokens of the {rows.en} are unknown to '{model}': it cannot read that text",
        f"{rows.zh}的 {tokens:,} 個 token 中，有 {share} 是「{model}」不認得的，模型讀不到這些文字",
    )


def suggest_bases(texts: pl.Series, model: str) -> Words:
    """Return which base models other than `model` read the script of most of these texts."""
    from finetune30.data.validation.set_rules import name_scripts

    scripts = name_scripts(texts.head(_ROWS_LOOKED_AT)).replace("", None).drop_nulls()
    script = str(scripts.mode().sort()[0]) if len(scripts) else ""
    bases = ", ".join(base for base in _BASES.get(script, _ANY_SCRIPT) if base.partition(" ")[0] != model)
    return Words(
        f"set model.name to a base that reads {script or 'such'} text, for example {bases}",
        f"將 model.name 改為能讀{f' {script} ' if script else '這種'}文字的基底模型，例如 {bases}",
    )
