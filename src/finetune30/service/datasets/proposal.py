"""What a data file says about the training that suits it: read at once, so that nobody has to count labels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from finetune30.config import ExperimentConfig
from finetune30.config.data import DataConfig
from finetune30.config.schema import shorten_name
from finetune30.data.problem import Role, label_names
from finetune30.data.texts import text_columns
from finetune30.modeling.readers import find_readers
from finetune30.problems.of_rows import problem_of_rows
from finetune30.service.datasets.fetch_limit import limit_fetching
from finetune30.settings import Settings

#: Texts, spread over the file, that script and tokenizers are told by.
LOOKED_AT = 200
#: Names of labels that are told.
NAMED = 20
_LONGEST_NAME = 60
_NOT_OF_A_NAME = re.compile(r"[^\w .+-]+")


def propose_settings(config: ExperimentConfig, settings: Settings) -> dict[str, Any]:
    """Return what the rows of a configuration are, and the settings that they want.

    `settings`: dotted key -> value (number of labels, columns, rows, name); `rows`, `labels`, `problem_type`, `script`
    (of most texts; "" for none), `notes` (how the file was read), `models`: base models on this machine, those that
    read the texts first. Raises DataError, HubError, TooLargeError.
    """
    from finetune30.data.conversations.views import with_contents
    from finetune30.data.loading import load_rows
    from finetune30.data.validation.set_rules import name_scripts
    from finetune30.data.versions.storage import VersionStore

    data = config.data
    loaded = load_rows(
        data,
        lambda _: None,
        problem=problem_of_rows(config.model.problem_type, data.dataset_name, settings.data_folder),
        load_version=VersionStore(settings.data_folder).load_tables,
        on_transfer=limit_fetching(settings.max_fetch_bytes),
    )
    rows = loaded.rows.filter(loaded.rows["split"] == "train")
    targets = loaded.problem.plan(rows["label_text"].drop_nulls(), None, loaded.declared)
    names = list(label_names(targets))
    texts = with_contents(rows)[text_columns(rows)[0]].drop_nulls()
    looked_at = texts.gather_every(max(1, len(texts) // LOOKED_AT)).head(LOOKED_AT)
    scripts = name_scripts(looked_at).replace("", None).drop_nulls()
    return {
        "rows": {str(split): count for split, count in loaded.rows["split"].value_counts().iter_rows()},
        "labels": names[:NAMED],
        "label_count": len(names),
        "problem_type": loaded.problem.name,
        "script": str(scripts.mode().sort()[0]) if len(scripts) else "",
        "notes": [note for table in loaded.tables for note in table.notes],
        "settings": {
            **({"model.num_labels": max(1, len(names))} if names or loaded.problem.rules.quantity else {}),
            **_columns(loaded.columns.chosen, loaded.problem.columns, data),
            "data.train_samples": None,
            "data.eval_samples": None,
            "experiment_name": name_of(data.dataset_name),
        },
        "models": [
            {
                "name": reader.name,
                "model_type": reader.model_type,
                "unknown_share": reader.unknown_share,
                "tokens_per_character": reader.tokens_per_character,
                "fits": reader.fits,
            }
            for reader in find_readers(looked_at.to_list())
        ],
    }


def name_of(dataset_name: str) -> str:
    """Return a name for an experiment on a file: that of the file without its endings, as far as names allow it."""
    from finetune30.data.sources.files import READERS

    path = PurePath(PurePath(dataset_name).name)
    while path.suffix.lower() in (*READERS, ".txt"):
        path = path.with_suffix("")
    words = " ".join(_NOT_OF_A_NAME.sub(" ", path.name).split())
    return shorten_name(words.strip(" .+-"), _LONGEST_NAME).strip(" .+-") or "my data"


def _columns(chosen: Mapping[str, str | None], roles: Sequence[Role], data: DataConfig) -> dict[str, Any]:
    """Return the keys of the columns that were found, where the configuration has keys for them."""
    if data.label_columns is not None:
        return {}
    found = {role.key: chosen.get(role.name) for role in roles}
    return {f"data.{key}": name for key, name in found.items() if name is not None and hasattr(data, key)}
