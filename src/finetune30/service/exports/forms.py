"""The forms of an export: what each makes of a loaded adapter, by which program it is read, how far off it may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune30.modeling.saving import logit_tolerance
from finetune30.service.exports.judging import Bound
from finetune30.service.exports.modelfile import write_modelfile
from finetune30.service.exports.reading import Read, read_export, read_gguf

if TYPE_CHECKING:
    from finetune30.training.problem import Trainable


#: Of the largest logit: weights keep 11 bits, and what they are multiplied with is rounded alike.
_F16_SHARE = 0.01
#: Of the largest logit: blocks of 32 weights share a scale, which keeps 7 bits of the largest one.
_Q8_SHARE = 0.1


@dataclass(frozen=True)
class Source:
    """A loaded adapter: its model under PEFT (used up by a form), tokenizer, folder; `ends` end answers.

    `begins`: whether texts begin with a token of the tokenizer's own.
    """

    model: Any
    tokenizer: Any
    adapter: Path
    trainable: Trainable
    ends: tuple[int, ...] = ()
    begins: bool = False


@dataclass(frozen=True)
class Form:
    """`make` fills a folder; `read` lets the form's reader answer a request about it.

    `what` and `use` are said in its README; `precision` is that of its weights. The models that it fits: `kinds`.
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


def _make_onnx(source: Source, folder: Path) -> None:
    from finetune30.modeling.exporting.merging import merge_adapter, save_settings
    from finetune30.modeling.exporting.needs import require_onnx
    from finetune30.modeling.exporting.onnx_files import write_onnx

    require_onnx()
    merged = merge_adapter(source.model)
    save_settings(merged, source.tokenizer, source.adapter, folder)
    write_onnx(merged, source.tokenizer, source.adapter, folder)


def _make_onnx_int8(source: Source, folder: Path) -> None:
    from finetune30.modeling.exporting.onnx_files import quantize_onnx

    _make_onnx(source, folder)
    quantize_onnx(folder)


def _use_onnx(trainable: Trainable) -> str:
    return """```python
import numpy, onnxruntime, tokenizers

tokenizer = tokenizers.Tokenizer.from_file("path/to/this/folder/tokenizer.json")
session = onnxruntime.InferenceSession("path/to/this/folder/model.onnx")
encoded = tokenizer.encode("some text")
values = {"input_ids": encoded.ids, "attention_mask": encoded.attention_mask, "token_type_ids": encoded.type_ids}
inputs = {one.name: numpy.array([values[one.name]], dtype=numpy.int64) for one in session.get_inputs()}
logits = session.run(["logits"], inputs)[0][0]
```
"""


ONNX = Form(
    name="onnx",
    precision="f32",
    bound=Bound(logit_tolerance("fp32")),
    make=_make_onnx,
    read=lambda folder, request: read_export("onnx_reader", folder, request),
    what="The adapter merged into its base model, as ONNX in float32: onnxruntime runs it, without Python or torch.",
    use=_use_onnx,
)
ONNX_INT8 = replace(
    ONNX,
    precision="int8",
    make=_make_onnx_int8,
    what="The adapter merged into its base model, as ONNX with weights in 8 bits. Activations are scaled over the "
    "whole batch: the answer to a text depends on the texts that are asked with it, and on the processor. Ask one at "
    "a time where answers must repeat.",
)


def _make_gguf(precision: str) -> Callable[[Source, Path], None]:
    def make(source: Source, folder: Path) -> None:
        from finetune30.modeling.exporting.gguf_files import write_gguf
        from finetune30.modeling.exporting.merging import merge_adapter, save_settings
        from finetune30.modeling.exporting.needs import require_gguf, require_gguf_model

        require_gguf()
        require_gguf_model(source.model.get_base_model().config)
        merged = merge_adapter(source.model)
        save_settings(merged, source.tokenizer, source.adapter, folder)
        write_gguf(merged, source.tokenizer, folder, precision, source.ends, begins=source.begins)
        write_modelfile(source.tokenizer, source.ends, folder)

    return make


def _use_gguf(_: Trainable) -> str:
    return """```bash
llama-cli -m path/to/this/folder/model.gguf          # llama.cpp
ollama create NAME -f path/to/this/folder/Modelfile  # where there is one
```
"""


GGUF = Form(
    name="gguf",
    precision="f16",
    bound=Bound(_F16_SHARE),
    make=_make_gguf("f16"),
    read=read_gguf,
    what="The adapter merged into its base model, as GGUF with matrices in float16, for llama.cpp and Ollama.",
    use=_use_gguf,
)
GGUF_Q8 = replace(
    GGUF,
    precision="q8_0",
    bound=Bound(_Q8_SHARE, keeps_greedy=False),
    make=_make_gguf("q8_0"),
    what="The adapter merged into its base model, as GGUF with matrices in 8 bits (q8_0), for llama.cpp and Ollama.",
)
FORMS = {(form.name, form.precision): form for form in (MERGED, ONNX, ONNX_INT8, GGUF, GGUF_Q8)}
#: As `kinds.QUANTISED_BASES` names them.
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
