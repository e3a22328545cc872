"""The forms of an export: what each makes of a loaded adapter, by which program it is read, how far off it may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune30.modeling.saving import logit_tolerance
from finetune30.service.exports.judging import Bound
from finetune30.service.exports.reading import Read, read_export

if TYPE_CHECKING:
    from finetune30.training.problem import Trainable


@dataclass(frozen=True)
class Source:
    """A loaded adapter: its model under PEFT (used up by a form), tokenizer, folder; `ends` end answers."""

    model: Any
    tokenizer: Any
    adapter: Path
    trainable: Trainable
    ends: tuple[int, ...] = ()


@dataclass(frozen=True)
class Form:
    """`make` fills a folder; `read` lets the form's reader answer a request about it.

    `what` and `use` are said in its README; `precision` is that of its weights.
    """

    name: str
    precision: str
    bound: Bound
    make: Callable[[Source, Path], None]
    read: Callable[[Path, Mapping[str, Any]], Read]
    what: str
    use: Callable[[Trainable], str]


def _make_merged(source: Source, folder: Path) -> None:
    from finetune30.modeling.exporting.merging import merge_adapter, save_merged

    save_merged(merge_adapter(source.model), source.tokenizer, source.adapter, folder, source.ends)


def _use_merged(trainable: Trainable) -> str:
    auto_class = trainable.card().auto_class.replace("AutoPeft", "Auto")
    return f"""```python
from transformers import AutoTokenizer, {auto_class}

model = {auto_class}.from_pretrained("path/to/this/folder").eval()
tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
```
"""


def _make_merged_into_whole(source: Source, folder: Path) -> None:
    from finetune30.modeling.exporting.merging import load_on_whole, merge_adapter, save_merged

    merged = merge_adapter(load_on_whole(source.adapter, source.trainable.load_saved))
    save_merged(merged, source.tokenizer, source.adapter, folder, source.ends)


def _make_merged_into_dequantised(source: Source, folder: Path) -> None:
    from finetune30.modeling.exporting.merging import load_on_dequantised, merge_adapter, save_merged

    merged = merge_adapter(load_on_dequantised(source.model, source.adapter))
    save_merged(merged, source.tokenizer, source.adapter, folder, source.ends)


MERGED = Form(
    name="merged",
    precision="f32",
    bound=Bound(logit_tolerance("fp32")),
    make=_make_merged,
    read=lambda folder, request: read_export("transformers_reader", folder, request),
    what="The adapter merged into its base model, in float32: plain transformers loads it, without peft.",
    use=_use_merged,
)
FORMS = {form.name: form for form in (MERGED,)}
#: What an adapter that was trained on a quantised base can be merged into, in the order in which they are tried.
QUANTISED_BASES = {
    "whole": replace(
        MERGED,
        make=_make_merged_into_whole,
        what="The adapter, trained on a quantised base, merged into the base as that was before.",
    ),
    "dequantised": replace(
        MERGED,
        make=_make_merged_into_dequantised,
        what="The adapter, trained on a quantised base, merged into that base written out in float32.",
    ),
}
