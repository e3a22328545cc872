"""What an export is held against, and exports that are held against it, in this process."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from finetune30.service.exports.export import measure_adapter
from finetune30.service.exports.judging import Bound, judge
from finetune30.service.exports.readers import transformers_reader
from finetune30.service.runs.open_records import open_records
from finetune30.settings import Settings


def refer_to_run(folder: Path, name: str) -> Any:
    """Return what the adapter of a run in `folder`/results says of its evaluation rows."""
    settings = Settings(results_folder=folder / "results", data_folder=folder / "data_store")
    with open_records(settings) as records:
        run = records.store.get(name)
        return measure_adapter(settings, records, run, records.folder(run).final_model, lambda _: None)[1]


def judge_merged(reference: Any, model: Path, bound: Bound) -> dict[str, Any]:
    """Read a merged model here, by the reader's own functions, and judge it."""
    read = transformers_reader.read_texts if reference.request["kind"] == "texts" else transformers_reader.read_tokens
    return judge(reference.measure(*read(str(model), reference.request)), bound)


def mutate(model: Path, folder: Path, change: Callable[[Path], None]) -> Path:
    """Return a copy of an export that `change` made another one."""
    shutil.copytree(model, folder)
    change(folder)
    return folder
