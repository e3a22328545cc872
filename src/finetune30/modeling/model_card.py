"""The README.md of a saved model: what it is, from what, how good, how to use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from finetune30.blocks import Block
from finetune30.data.problem import Card
from finetune30.modeling.card_blocks import draw_blocks

_RESULTS = "## Results on the evaluation rows"
_TEMPLATE = """---
base_model: {base}
library_name: peft
pipeline_tag: {pipeline_tag}
tags:
- lora
- finetune30
---

# {name}

A LoRA adapter for {task}, trained with finetune30 {version} on {finished}.

| | |
|---|---|
| base model | `{base}`{made_from}{revision}{quantization}{head} |
| data | `{dataset}`{dataset_revision} (digest `{digest}`) |
| rows | {train_rows} training rows, {evaluation_rows} evaluation rows |
| answers | {answers} |
| adapter | r {r}, alpha {alpha}, target modules {targets}; {saved} |
| steps | {steps} optimizer steps, learning rate {rate}, precision {precision} on {device} |
| run | `{run_id}` |
{replaced}
{results_heading}

{results}

## Use

```python
from peft import {auto_class}
from transformers import AutoTokenizer{further}

{beside}{quantized}model = {auto_class}.from_pretrained("path/to/final_model"{arguments})
tokenizer = AutoTokenizer.from_pretrained("path/to/final_model")
```

or `ft30 predict {run_id_short} "some text"`. What it learnt stands in `labels.json`.

## Limits

Trained and measured on the rows above only; measure it on your own before relying on it.
"""


def write_arguments(values: Mapping[str, Any]) -> str:
    """Return keyword arguments as Python writes them."""
    return ", ".join(f"{name}={value!r}" for name, value in values.items())


def build_model_card(facts: dict[str, Any], card: Card, results: Sequence[Block], config: dict[str, Any]) -> str:
    """Fill the card. `facts` needs the keys that `_save_model` of the service gives; `results` show the evaluation."""
    replaced = "".join(
        f"\n> The hub was out of reach: `{used}` was used instead of `{wanted}`.\n"
        for wanted, used in facts["replaced"].items()
    )
    quantization = facts["quantization"]
    described = asdict(card)
    if quantization is not None:
        described["arguments"] += ", quantization_config=quantized"
    return _TEMPLATE.format(
        name=config["experiment_name"],
        base=facts["base"],
        made_from=f" ({facts['made_from']})" if facts["made_from"] else "",
        # Of a model that no hub has, the weights themselves say which one it is.
        revision=f" at `{facts['revision']}`" if facts["revision"] else f" (weights `{facts['base_sha256'][:16]}`)",
        beside="" if facts["revision"] else f"# The folder of the base model must be here, named {facts['base']!r}.\n",
        head=f"; its own head of {len(labels)} outputs was left out" if (labels := facts["left_out_head"]) else "",
        quantization=f"; held in {4 if 'load_in_4bit' in quantization else 8} bits by bitsandbytes"
        if quantization
        else "",
        further=", BitsAndBytesConfig" if quantization else "",
        quantized=f"quantized = BitsAndBytesConfig({write_arguments(quantization)})\n" if quantization else "",
        **described,
        version=facts["version"],
        finished=facts["finished"],
        # A place on this machine stays here; its last part is a name.
        dataset=facts["hub_data"]["id"] if facts["hub_data"] else Path(config["data"]["dataset_name"]).name,
        dataset_revision=f" at `{facts['hub_data']['commit']}`" if facts["hub_data"] else "",
        digest=facts["dataset_digest"][:16],
        train_rows=facts["train_rows"],
        evaluation_rows=facts["evaluation_rows"],
        r=config["lora"]["r"],
        alpha=config["lora"]["lora_alpha"],
        targets=config["lora"]["target_modules"],
        steps=facts["steps"],
        rate=config["training"]["learning_rate"],
        precision=facts["precision"],
        device=facts["device"],
        run_id=facts["run_id"],
        run_id_short=facts["run_id"][:8],
        replaced=replaced,
        results_heading=_RESULTS,
        results=draw_blocks(results),
    )


def replace_results(card: str, results: Sequence[Block]) -> str:
    """Return a card with other results in the place of its own; one without results comes back as it is."""
    before, heading, rest = card.partition(f"{_RESULTS}\n\n")
    if not heading:
        return card
    _, following, after = rest.partition("\n\n## ")
    return f"{before}{heading}{draw_blocks(results)}{following}{after}"
