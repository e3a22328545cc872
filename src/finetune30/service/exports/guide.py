"""The README.md of an export: what it is, what it was measured to be, how it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_GUIDE = """# {title}

{what} Made of run `{run}`{version} by finetune30 {program}; base model `{base}`.

## Measured

Held against the adapter on {rows} evaluation rows of the run, read by {reader}:

| | |
|---|---|
{table}

All of it: `receipt.json`. `sha256sum -c SHA256SUMS` says whether the files are whole.

## Use

{use}
{reading}"""


def write_guide(receipt: Mapping[str, Any], what: str, use: str, described: Mapping[str, Any]) -> str:
    """Return the text. `described` is what `load_targets` gives; `what` and `use` are the form's own words."""
    measured, reader = receipt["measured"], receipt["reader"]
    return _GUIDE.format(
        title=receipt["name"],
        what=what,
        run=receipt["run_id"],
        version=f", version `{receipt['version']}`," if receipt["version"] else "",
        program=receipt["finetune30"],
        base=receipt["base"]["name"],
        rows=measured["rows"],
        reader=f"{reader['name']} {reader['version']}",
        table="\n".join(f"| {name} | {value} |" for name, value in _figures(measured)),
        use=use,
        reading=_describe_reading(described),
    )


def _figures(measured: Mapping[str, Any]) -> list[tuple[str, str]]:
    gap, score = measured["logits"], measured["score"]
    rows = [
        ("largest difference of a logit", f"{gap['largest']:.3g} (allowed {measured['allowed_gap']:.3g})"),
        ("mean difference", f"{gap['mean']:.3g}"),
        *([] if measured["flips"] is None else [("answers that differ", str(measured["flips"]))]),
        (f"{score['name']} of the adapter", _with_interval(score["adapter"])),
        (f"{score['name']} of this model", _with_interval(score["export"])),
    ]
    if alone := measured.get("alone_against_batch"):
        rows.append(("alone against in a batch, largest", f"{alone['export']['largest']:.3g}"))
    if greedy := measured.get("greedy"):
        rows.append((f"greedy answers of {greedy['tokens']} tokens", f"{greedy['equal']} of {greedy['prompts']} equal"))
    return rows


def _with_interval(score: Mapping[str, Any]) -> str:
    interval = score["interval"]
    return f"{score['value']:.4g}" + (f" ({interval['low']:.4g} to {interval['high']:.4g})" if interval else "")


def _describe_reading(described: Mapping[str, Any]) -> str:
    """Say what the training did to its texts, which whoever asks must do too."""
    steps = ", ".join(str(step["step"]) for step in described["recipe"])
    lines = [f"Texts are read up to {described['max_length']} tokens; what is longer was cut in training."]
    if steps:
        lines.append(f"The training cleaned its texts first (`labels.json`, recipe: {steps}); clean yours alike.")
    if (temperature := described.get("temperature", 1.0)) != 1.0:
        lines.append(f"Divide logits by {temperature!r} before they become probabilities.")
    if thresholds := described.get("thresholds", {}):
        named = ", ".join(f"`{name}` {share!r}" for name, share in thresholds.items())
        lines.append(f"Answer a label whose probability is above its threshold: {named}.")
    if least := described.get("least_confidence", 0.0):
        lines.append(f"Give no answer where the probability of what was decided is below {least!r}: it is not sure.")
    return "\n" + "\n".join(lines) + "\n"
