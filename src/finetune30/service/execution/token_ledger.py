"""Where the tokens of a run went: by kind, for both splits, and held against what the loss was divided by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetune30.data.encoding import IGNORED
from finetune30.errors import DataError

if TYPE_CHECKING:
    from finetune30.data.encoding import EncodedSplit
    from finetune30.training.progress import Progress

#: Counts of a split that are no kinds of tokens.
_NO_KINDS = ("dropped_characters", "unlike_asked", "left_out")


def build_token_ledger(splits: dict[str, EncodedSplit]) -> dict[str, dict[str, int]]:
    """Return tokens by split and kind; nothing for problems whose tokens are all alike.

    Raises DataError where the supervised tokens are not as many as those that the loss asks for.
    """
    ledger = {}
    for name, split in splits.items():
        if not split.token_counts:
            continue
        counts = {kind: int(values.sum()) for kind, values in split.token_counts.items()}
        asked = int((split.targets != IGNORED).sum())
        if asked != counts["supervised"]:
            message = f"{counts['supervised']} {name} tokens are supervised, but the loss asks for {asked}"
            raise DataError(message, "the run is not trustworthy; please report this with its config.yaml")
        kept = sum(count for kind, count in counts.items() if kind not in (*_NO_KINDS, "truncated"))
        ledger[name] = {**counts, "used": kept, "total": kept + counts["truncated"]}
    return ledger


def describe_token_ledger(ledger: dict[str, dict[str, int]]) -> list[str]:
    """Return a line for each split, and one for what the template dropped."""
    lines = []
    for name, counts in ledger.items():
        parts = ", ".join(
            f"{counts[kind]:,} {kind}" for kind in ("supervised", "context", "template", "truncated") if counts[kind]
        )
        lines.append(f"{name} tokens: {counts['total']:,} = {parts}")
        if counts["dropped_characters"]:
            lines.append(f"{name}: the template left out {counts['dropped_characters']:,} characters of rows")
        if counts["unlike_asked"]:
            lines.append(
                f"{name}: {counts['unlike_asked']:,} answers carry no loss, because the template would ask for them "
                "behind another text"
            )
        if counts["left_out"]:
            lines.append(
                f"{name}: {counts['left_out']:,} answers carry no loss, because the template writes nothing of them"
            )
    return lines


def check_supervised(ledger: dict[str, dict[str, int]], progress: Progress) -> None:
    """Compare the supervised tokens that steps were divided by with those of the rows used.

    Whole epochs must have asked for every one once, a broken-off one at most once. Raises DataError.
    """
    if "train" not in ledger:
        return
    used = ledger["train"]["supervised"]
    least = progress.epoch * used
    most = least + (used if progress.step_in_epoch else 0)
    if not least <= progress.weight <= most:
        took = f"{progress.weight:,.0f} supervised tokens in {progress.epochs_done:g} epochs of {used:,}"
        message = f"steps were divided by {took}"
        raise DataError(message, "the run is not trustworthy; please report this with its config.yaml")
