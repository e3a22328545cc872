"""The card of a version, CARD.md: where it comes from, how good it is, what limits it; all from the record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from finetune30.modeling.card_blocks import draw_blocks
from finetune30.service.runs.blocks import build_result_blocks
from finetune30.store import Run
from finetune30.store.model_records import NewVersion

_CARD = """# {name}, version {number}

Made of run `{run_id}`. Wherever a run is named, `{name}:{number}` means this version.

## Lineage

| | |
|---|---|
| rows | {rows} |
| version of the data | `{data}`{commit}, digest `{digest}` |
| run | `{run_id}`, finished {finished} |
| base model | `{base}`{revision}, weights `{base_sha256}` |
| adapter | `{adapter_sha256}` |
| this version | manifest `{manifest_sha256}` |

## Results on the evaluation rows

{results}

## Limits

{limits}
"""


def build_card(
    name: str, number: int, new: NewVersion, run: Run, ledger_totals: Mapping[str, Mapping[str, Any]]
) -> str:
    """Return the card as Markdown. `ledger_totals`: split -> what became of its input rows -> how many."""
    base, data = new.facts["base"], new.facts["data"]
    return _CARD.format(
        name=name,
        number=number,
        run_id=run.id,
        rows="; ".join(_fates(ledger_totals)) or "not told",
        data=data["name"],
        commit=f" at `{data['commit']}`" if data["commit"] else "",
        digest=data["digest"],
        finished=f"{run.finished_at:%Y-%m-%d}" if run.finished_at else "",
        base=base["name"],
        revision=f" at `{base['revision']}`" if base["revision"] else "",
        base_sha256=new.base_sha256,
        adapter_sha256=new.adapter_sha256,
        manifest_sha256=new.manifest_sha256,
        results=draw_blocks(build_result_blocks(run.metrics or {})) or "None were recorded.",
        limits="\n".join(f"* {limit}" for limit in _limits(new)),
    )


def _fates(totals: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Say of every source or split what became of its rows, leaving out what happened to none."""
    for name, fates in totals.items():
        counts = {key: value for key, value in fates.items() if not isinstance(value, Mapping)}
        counts |= {f"left out ({why})": count for why, count in fates.get("dropped", {}).items()}
        told = ", ".join(f"{count:,} {fate.replace('_', ' ')}" for fate, count in counts.items() if count)
        yield f"{name}: {told or 'none'}"


def _limits(new: NewVersion) -> Iterator[str]:
    rows = new.facts["data"]["rows"]
    yield f"Measured on {rows['evaluation'] or 'an unknown number of'} rows of the data above only."
    yield f"Reads {new.facts['max_length']} tokens of a text; what is longer is cut."
    if scripts := new.facts["data"]["scripts"]:
        shares = ", ".join(f"{script} ({share:.0%})" for script, share in scripts.items())
        yield f"The evaluation rows are written in {shares}; nothing is known about others."
    yield from (f"In doubt: {doubt}" for doubt in new.facts["doubts"])
    yield from (f"Files: {fault}" for fault in new.facts["travel_faults"])
