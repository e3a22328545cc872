"""A run whose texts the tokenizer cannot read is warned about, and above a share stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from finetune30.data.texts import text_columns
from finetune30.data.unknown_tokens import MOST_SHARE, WARNING_SHARE, describe_unknown, suggest_bases
from finetune30.errors import DataError
from finetune30.training.problem import Doubt

if TYPE_CHECKING:
    from finetune30.data.encoding import EncodedSplit
    from finetune30.data.prepare import PreparedData

UNKNOWN_TOKENS = "unknown_tokens"


def judge_unknown_tokens(
    data: PreparedData,
    splits: Mapping[str, EncodedSplit],
    model: str,
    *,
    allowed: bool,
    log: Callable[[str], None],
) -> tuple[PreparedData, list[Doubt]]:
    """Return the data with the counts in their report, and the doubt about the worst split where there is one.

    Raises DataError above MOST_SHARE, unless `allowed`.
    """
    counts = {name: {"unknown": split.unknown_tokens, "tokens": len(split.tokens)} for name, split in splits.items()}
    data = replace(data, report={**data.report, "unknown_tokens": counts})
    shares = {name: count["unknown"] / max(1, count["tokens"]) for name, count in counts.items()}
    worst = max(shares, key=shares.__getitem__)
    if shares[worst] <= WARNING_SHARE:
        return data, []
    words = describe_unknown(**counts[worst], model=model, split=worst)
    rows = data.train if worst == "train" else data.evaluation
    advice = suggest_bases(rows[text_columns(rows)[0]], model)
    if shares[worst] > MOST_SHARE and not allowed:
        raise DataError(
            f"{words.en} (at most {100 * MOST_SHARE:.0f} % is allowed)",
            f"{advice.en}; or train all the same with data.allow_unknown_tokens: true",
            details={"unknown_tokens": counts},
        )
    log(f"WARNING: {words.en}; {advice.en}")
    return data, [Doubt(UNKNOWN_TOKENS, words, (advice,))]
