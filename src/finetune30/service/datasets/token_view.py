"""One row of a data set as a language model is trained on it, token by token."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finetune30.config import STARTER_CHAT, ExperimentConfig
from finetune30.config.conversations import follow_conversations
from finetune30.config.loading import LoadedConfig
from finetune30.config.problem_types import CAUSAL_LM, has_token_kinds
from finetune30.errors import ConfigError, NotFoundError
from finetune30.settings import Settings

if TYPE_CHECKING:
    from finetune30.data.prepare import PreparedData
    from finetune30.hub.fetching import OnTransfer
    from finetune30.modeling.conversations.showing import ShownRow

_SHOWN = 5


@dataclass(frozen=True)
class TokenView:
    """A row (`<file>:<line>`), the model whose tokens they are, and the row in pieces."""

    row_id: str
    split: str
    model: str
    max_length: int
    shown: ShownRow

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON tree."""
        aside = self.shown.aside
        return {
            "row_id": self.row_id,
            "split": self.split,
            "model": self.model,
            "max_length": self.max_length,
            "counts": self.shown.counts,
            "pieces": [{"kind": p.kind, "text": p.text, "ids": list(p.ids)} for p in self.shown.pieces],
            "dropped_characters": self.shown.dropped_characters,
            "unlike_asked": self.shown.unlike_asked,
            "aside": None if aside is None else {"rule": aside.rule, "fix": aside.fix},
        }


def view_tokens(
    loaded: LoadedConfig,
    row: str | None,
    settings: Settings,
    log: Callable[[str], None],
    on_transfer: OnTransfer | None = None,
) -> TokenView:
    """Return one row as a training with this configuration would read it; `names_model` says under which model.

    `row` is a line of the first file, or `<file>:<line>`; None is the first row that is used. Raises NotFoundError
    where no row that is used stands there, and what loading of data and tokenizer raises.
    """
    from finetune30.data.prepare import prepare_data
    from finetune30.modeling.base import find_tokenizer
    from finetune30.modeling.conversations.showing import show_row
    from finetune30.problems.of_rows import problem_of_rows
    from finetune30.problems.trainables import load_trainable

    config = _with_model(loaded)
    data = prepare_data(
        config.data,
        problem=problem_of_rows(config.model.problem_type, config.data.dataset_name, settings.data_folder),
        num_labels=config.model.num_labels,
        seed=config.row_seed,
        log=log,
        data_folder=settings.data_folder,
        on_transfer=on_transfer,
    )
    if not has_token_kinds(data.problem.name):
        raise ConfigError(
            f"these rows are read for '{data.problem.name}'; tokens have kinds in conversations and texts of language "
            "models only",
            f"if they hold such, add --problem_type {CAUSAL_LM}",
        )
    config, _ = follow_conversations(config, data.problem.name, loaded.explicit)
    split, row_id, conversation = _find(data, row)
    source = find_tokenizer(config.model, log, on_transfer, data_folder=settings.data_folder)
    problem: Any = load_trainable(data.problem.name, data.targets).with_base(source, config, log)
    encoder = problem.build_encoder(source, None)
    shown = show_row(encoder, json.loads(conversation), config.data.max_length)
    return TokenView(row_id, split, source.described, config.data.max_length, shown)


def names_model(loaded: LoadedConfig) -> bool:
    """Tell whether a configuration names its model; in the place of the default, an encoder, `starter-chat` reads."""
    return "model.name" in loaded.explicit or loaded.config.model.name != ExperimentConfig().model.name


def _with_model(loaded: LoadedConfig) -> ExperimentConfig:
    if names_model(loaded):
        return loaded.config
    model = loaded.config.model.model_copy(update={"name": STARTER_CHAT})
    return loaded.config.model_copy(update={"model": model})


def _find(data: PreparedData, row: str | None) -> tuple[str, str, str]:
    """Return split, id and canonical form of the wanted row."""
    wanted = f"{data.ledger['files'][0]['file']}:{row}" if row is not None and row.isdigit() else row
    for split, frame in (("train", data.train), ("evaluation", data.evaluation)):
        for row_id, conversation in zip(frame["row_id"], frame["conversation"], strict=True):
            if wanted in (None, row_id):
                return split, row_id, conversation
    for row_id, reason in zip(data.quarantine["row_id"], data.quarantine["reason"], strict=True):
        if row_id == wanted:
            raise NotFoundError(f"the row at {wanted} is set aside as '{reason}'", _choices(data))
    raise NotFoundError(f"no row that is used stands at {wanted}", _choices(data))


def _choices(data: PreparedData) -> str:
    shown = ", ".join(data.train["row_id"].head(_SHOWN))
    return f"name a line of the first file or FILE:LINE, for example {shown}"
