"""Where the tokens of a run went: by kind, for both splits, and held against what the loss was divided by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

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
            raise _untrustworthy(f"{counts['supervised']} {name} tokens are supervised, but the loss asks for {asked}")
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
            lines.append(f"{name}: characters of rows that the template left out: {counts['dropped_characters']:,}")
        if counts["unlike_asked"]:
            lines.append(
                f"{name}: answers without loss, because the template would ask for them behind another text: "
                f"{counts['unlike_asked']:,}"
            )
        if counts["left_out"]:
            lines.append(
                f"{name}: answers without loss, because the template writes nothing of them: {counts['left_out']:,}"
            )
    return lines


def check_supervised(ledger: dict[str, dict[str, int]], progress: Progress, metrics: Mapping[str, Any]) -> None:
    """Compare the ledger with what steps were divided by, what their batches asked for, and what was evaluated.

    Whole epochs must have asked for every supervised token once, a broken-off one at most once. The batches' own
    targets are counted apart from the ledger's arrays: what is lost between the two is found. Raises DataError.
    """
    if "train" not in ledger:
        return
    used = ledger["train"]["supervised"]
    least = progress.epoch * used
    most = least + (used if progress.step_in_epoch else 0)
    if not least <= progress.weight <= most:
        took = f"{progress.weight:,.0f} supervised tokens in {progress.epochs_done:g} epochs of {used:,}"
        raise _untrustworthy(f"steps were divided by {took}")
    if progress.asked != progress.weight:
        divided = f"{progress.weight:,.0f} supervised tokens"
        raise _untrustworthy(f"steps were divided by {divided}, but their batches asked for {progress.asked:,}")
    evaluated, wanted = metrics.get("eval_supervised_tokens"), ledger["evaluation"]["supervised"]
    if evaluated != wanted:
        raise _untrustworthy(f"{evaluated} tokens were evaluated, the ledger says {wanted} are supervised")


def _untrustworthy(message: str) -> DataError:
    return DataError(message, "the run is not trustworthy; please report this with its config.yaml")
