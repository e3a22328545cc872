"""`ft30 export` but for `--as zip`: a finished run's model in another form, measured before it is there."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune30 import __version__, failpoints
from finetune30.errors import SelfTestError
from finetune30.files import encode_json
from finetune30.problems import load_problem
from finetune30.problems.trainables import load_trainable
from finetune30.service.datasets.operations import versions_of
from finetune30.service.exports.judging import judge
from finetune30.service.exports.kinds import RECEIPT, choose_form, name_export, place_of
from finetune30.service.exports.staging import staged
from finetune30.service.models.private_places import find_private_names, require_no_place
from finetune30.service.parity.rows import load_measured_rows
from finetune30.service.runs.details import require_intact_model, require_model
from finetune30.service.runs.kept_copies import find_copy, find_published
from finetune30.service.runs.open_records import Records, open_records, require_records
from finetune30.settings import Settings
from finetune30.store import Run
from finetune30.store.model_names import parse_reference

if TYPE_CHECKING:
    from finetune30.service.exports.forms import Form, Source
    from finetune30.service.exports.text_reference import TextReference
    from finetune30.service.exports.token_reference import TokenReference

    Reference = TextReference | TokenReference

Log = Callable[[str], None]
RECEIPT_FORMAT = 1
_TEXTS = (".json", ".md", ".jinja", ".txt", ".yaml")


@dataclass(frozen=True)
class Export:
    """An export that is there: its folder, and what its receipt says."""

    folder: Path
    receipt: dict[str, Any]


def export_model(
    settings: Settings,
    output_dir: Path | None,
    run_name: str,
    form_name: str,
    log: Log,
    *,
    output: Path | None = None,
    overwrite: bool = False,
    accepted_gap: float | None = None,
    by: str = "",
    into: str | None = None,
    precision: str | None = None,
    called: str | None = None,
) -> Export:
    """Make an export of a SUCCEEDED run's model and return it; it appears whole, or not at all.

    `output`: its folder, else `exports/RUN-FOLDER-FORM` in the results folder. `accepted_gap`: how far logits may lie
    apart in the place of the form's own bound, accepted `by` somebody. `into`: which base (one of QUANTISED_BASES) an
    adapter of a quantised base is merged into. `called`: the name by which somebody asked for the run, where it was
    found before. Raises NotFoundError, ConflictError (the run has
    no model), UsageError (something is there already), StorageError, and SelfTestError for an export that is not the
    trained model.
    """
    require_records(settings, output_dir)
    with open_records(settings, output_dir) as records:
        run = require_model(records.store.get(run_name))
        adapter = require_intact_model(records, run)
        form = _find_form(choose_form(form_name, precision, adapter, into), into)
        target = output or place_of(records, run, name_export(form_name, precision))
        private = find_private_names(run, records, _place_of_base(adapter))
        with staged(target, overwrite=overwrite) as folder:
            source, reference = measure_adapter(settings, records, run, adapter, log)
            if form is None:
                raise refuse_quantised(source, reference, folder, log)
            form = replace(form, bound=replace(form.bound, accepted=accepted_gap, by=by))
            form.make(source, folder)
            failpoints.reach("export.after_model")
            log("reading what was made in a process of its own")
            measured, reader = check_export(form, folder, reference)
            receipt = {
                **_describe(run, records, called or run_name, form),
                "reader": reader,
                "measured": measured,
            }
            _write_papers(folder, adapter, receipt, form, source)
            _require_no_places(folder, private)
    return Export(target, receipt)


def _find_form(chosen: tuple[str, str] | None, into: str | None) -> Form | None:
    from finetune30.service.exports.forms import FORMS, QUANTISED_BASES

    if chosen is None:
        return None
    return FORMS[chosen] if into is None else QUANTISED_BASES[into]


def refuse_quantised(source: Source, reference: Reference, folder: Path, log: Log) -> SelfTestError:
    """Measure what an adapter of a quantised base would be, merged into each base; return the error that tells."""
    from finetune30.service.exports.forms import QUANTISED_BASES

    told = []
    for name, form in QUANTISED_BASES.items():
        log(f"merging it into the {name} base")
        candidate = folder / name
        form.make(source, candidate)
        read = form.read(candidate, reference.request)
        measured = reference.measure(read.answer, read.arrays)
        told.append(
            f"{name}: logits differ by up to {measured.gap.largest:.3g} (mean {measured.gap.mean:.3g}), "
            f"{measured.figures.get('flips')} flips"
        )
        shutil.rmtree(candidate)
    return SelfTestError(
        f"the adapter was trained on a quantised base, and merged it is another model. {'; '.join(told)}",
        "keep the adapter (--as zip), or name the base: --into dequantised",
    )


def check_export(form: Form, folder: Path, reference: Reference) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read what was made and hold it against the adapter; return what was measured, and the reader.

    Raises SelfTestError where it is not the trained model.
    """
    read = form.read(folder, reference.request)
    measured = judge(reference.measure(read.answer, read.arrays), form.bound)
    return measured, {**read.answer["reader"], "cpu": platform.processor() or platform.machine()}


def measure_adapter(
    settings: Settings, records: Records, run: Run, adapter: Path, log: Log
) -> tuple[Source, Reference]:
    """Load a run's adapter in fp32 on the CPU, and ask it about evaluation rows of the run."""
    from finetune30.modeling.devices import choose_placement
    from finetune30.modeling.saved_targets import load_targets
    from finetune30.service.exports import text_reference, token_reference
    from finetune30.service.exports.forms import Source

    described = load_targets(adapter)
    problem = load_problem(described["problem_type"])
    trainable = load_trainable(problem.name, described["targets"])
    most = token_reference.MOST_ROWS if trainable.scores_tokens else text_reference.MOST_ROWS
    versions = versions_of(settings, records.store)
    rows = load_measured_rows(run, find_published(records, run), versions, described["targets"], most)
    log(f"asking the adapter about {rows.height} evaluation rows")
    model: Any = trainable.open_saved(adapter, choose_placement("cpu", "fp32"))
    reference: Reference
    if trainable.scores_tokens:
        reference = token_reference.refer_to_tokens(problem, trainable, model, rows, described["max_length"])
        return Source(
            model.model, model.tokenizer, adapter, trainable, tuple(reference.ends), reference.begins
        ), reference
    reference = text_reference.refer_to_texts(problem, trainable, model, rows, described["max_length"])
    return Source(model.model, model.tokenizer, adapter, trainable), reference


def _place_of_base(adapter: Path) -> str | None:
    from finetune30.modeling.published_base import find_local_base

    found = find_local_base(adapter)
    return None if found is None else str(found)


def _describe(run: Run, records: Records, run_name: str, form: Form) -> dict[str, Any]:
    base: Mapping[str, Any]
    if (copy := find_copy(records, run)) is not None:
        adapter, base = copy[0].adapter_sha256, {"id": copy[0].facts["base"]["name"], **copy[0].facts["base"]}
    else:
        manifest = records.require_folder(run).load_manifest()
        adapter = manifest["files"]["artifacts/final_model/adapter_model.safetensors"]["sha256"]
        base = manifest["base"]
    return {
        "format": RECEIPT_FORMAT,
        "name": run.name,
        "form": form.name,
        "precision": form.precision,
        "run_id": run.id,
        "version": run_name if parse_reference(run_name) is not None else None,
        "manifest_sha256": run.manifest_sha256,
        "adapter_sha256": adapter,
        "base": {
            "name": base.get("id") or Path(str(base["name"])).name,
            "revision": base.get("revision"),
            "sha256": base.get("sha256"),
        },
        "finetune30": __version__,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _write_papers(folder: Path, adapter: Path, receipt: dict[str, Any], form: Form, source: Source) -> None:
    from finetune30.modeling.saved_targets import LABELS_FILE, load_targets
    from finetune30.service.exports.guide import write_guide

    shutil.copyfile(adapter / LABELS_FILE, folder / LABELS_FILE)
    (folder / RECEIPT).write_bytes(encode_json(receipt))
    guide = write_guide(receipt, form.what, form.use(source.trainable), load_targets(adapter))
    (folder / "README.md").write_text(guide, encoding="utf-8")
    failpoints.reach("export.after_receipt")


def _require_no_places(folder: Path, private: dict[str, str]) -> None:
    """Raise StorageError where a file of an export names a place on this machine."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in _TEXTS:
            require_no_place(path.name, path.read_bytes(), private)
