"""`ft30 export`: a finished run's model in a form for other machines and other programs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from finetune30.cli.named_option import named_option
from finetune30.cli.run_options import output_dir_option
from finetune30.values import say_count

if TYPE_CHECKING:
    from finetune30.service.exports.export import Export

#: Made as it is, and not measured: the adapter stays what it was.
_ZIP = "zip"
_FORMS = (_ZIP, "merged", "onnx", "gguf")
_PRECISIONS = ("f32", "f16", "q8_0", "int8")


def _require_finite(_context: click.Context, _option: click.Parameter, gap: float | None) -> float | None:
    if gap is not None and not math.isfinite(gap):
        raise click.BadParameter(f"{gap} is no number above 0.")
    return gap


@click.command(
    "export",
    epilog="Example: ft30 export latest --as zip --output model.zip   or   ft30 export reviews@production --as merged",
)
@click.argument("run")
@click.option("--as", "form", type=click.Choice(_FORMS), default=_ZIP, show_default=True, help="What to make of it.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="The .zip to write, left out: FOLDER-OF-THE-RUN.zip; of another form its folder, left out: below exports in "
    "the results folder.",
)
@click.option("--overwrite", is_flag=True, help="Replace an export that is there.")
@named_option(
    "accept_gap",
    metavar="GAP",
    type=click.FloatRange(min=0, min_open=True),
    callback=_require_finite,
    help="Publish it although logits lie up to GAP from the adapter's; the receipt keeps who said so.",
)
@click.option(
    "--into",
    type=click.Choice(["dequantised", "whole"]),
    help="Which base an adapter of a quantised base is merged into; left out: both are measured, nothing is written.",
)
@click.option("--precision", type=click.Choice(_PRECISIONS), help="That of the weights; left out: f32, of gguf f16.")
@output_dir_option
def command(
    run: str,
    form: str,
    output: Path | None,
    overwrite: bool,
    accept_gap: float | None,
    into: str | None,
    precision: str | None,
    output_dir: Path | None,
) -> None:
    """Write the model of RUN (id, folder, name, latest, NAME@alias or NAME:7) for other machines and programs.

    zip: the adapter, the base model (unless it is one of the hub) and use_model.py, which loads and asks both. Nothing
    in it names a place on this machine.

    merged: one model in safetensors, the adapter merged into its base, which plain transformers loads.

    onnx: a model with a head, the adapter merged into its base, as one file for onnxruntime. Batch and length are free.
    With --precision int8 its weights take 8 bits; then an answer depends on the texts that are asked with it.

    gguf: a Llama, Mistral or Qwen that answers, for llama.cpp and Ollama, in f16 or, with --precision q8_0, in 8 bits;
    with its tokenizer, template and end tokens, and a Modelfile where the template is a known one.

    All forms but zip are read by another program in a process of its own and held against the adapter on evaluation
    rows of the run; receipt.json beside the model says how far they lie apart. Outside the bound nothing is written.
    """
    from finetune30.cli.local_actor import local_actor
    from finetune30.cli.terminal_text import show_controls, tell
    from finetune30.errors import UsageError
    from finetune30.settings import load_settings

    settings = load_settings()
    if form == _ZIP:
        from finetune30.service.models.model_package import export_package

        if accept_gap is not None or into is not None or precision is not None:
            raise UsageError(
                "--accept_gap, --into and --precision are for forms that are measured",
                "leave them out, or choose another --as",
            )
        written = export_package(settings, output_dir, run, output, overwrite=overwrite)
        click.echo(f'{written}\nask it there: unzip {written.name} && python {written.stem}/use_model.py "some text"')
        return
    from finetune30.service.exports.export import export_model

    made = export_model(
        settings,
        output_dir,
        run,
        form,
        lambda line: tell(show_controls(line)),
        output=output,
        overwrite=overwrite,
        accepted_gap=accept_gap,
        by=local_actor(),
        into=into,
        precision=precision,
    )
    _print(made)


def _print(made: Export) -> None:
    """Print the folder and what was measured."""
    measured = made.receipt["measured"]
    gap, score = measured["logits"], measured["score"]
    click.echo(made.folder)
    flips = "" if measured["flips"] is None else f", {say_count(measured['flips'], 'answers differ')}"
    click.echo(
        f"on {say_count(measured['rows'], 'evaluation rows')}: logits differ by up to {gap['largest']:.3g} (allowed "
        f"{measured['allowed_gap']:.3g}, mean {gap['mean']:.3g}){flips}; {score['name']} "
        f"{score['export']['value']:.4g}, of the adapter {score['adapter']['value']:.4g}"
    )
