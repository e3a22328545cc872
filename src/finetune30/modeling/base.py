"""The base model: found (hub, local folder, starter) and checked; its tokenizer, loaded.

Everything is resolved to a local folder first. Safetensors only; code of a repository is never run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune30.config import STARTER, STARTER_CHAT, ModelConfig
from finetune30.errors import ModelError, first_line
from finetune30.files import sha256_of
from finetune30.hub.cache import is_known_absent
from finetune30.hub.faults import unavailable
from finetune30.hub.fetching import OnTransfer
from finetune30.hub.snapshots import Snapshot, open_snapshot
from finetune30.modeling.families import describe_quantization
from finetune30.modeling.model_facts import choose_padding, load_config
from finetune30.modeling.model_files import (
    CONFIG,
    COPY_AGAIN,
    OTHER_WEIGHTS,
    TOKENIZER_DECIDERS,
    WEIGHTS,
    WEIGHTS_INDEX,
    describing_names,
    has_tokenizer,
    text_names,
    weight_files,
    weight_names,
)
from finetune30.modeling.names import starter_folder
from finetune30.modeling.starter_chat import ensure_starter_chat_model

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Log = Callable[[str], None]
#: What only folders of adapters have.
ADAPTER_CONFIG = "adapter_config.json"
#: What is fetched of a model, by the names under which the hub's room remembers it.
_WHOLE, _TOKENIZER = "whole", "tokenizer"


def _say_nothing(_: str) -> None:
    """Nobody wants to know."""


#: Names that model configurations of transformers give to dropout probabilities, those of their heads included.
DROPOUT_KEYS = (
    "activation_dropout",
    "attention_dropout",
    "attention_probs_dropout_prob",
    "attn_pdrop",
    "classifier_dropout",
    "dropout",
    "embd_pdrop",
    "embedding_dropout",
    "hidden_dropout",
    "hidden_dropout_prob",
    "mlp_dropout",
    "resid_pdrop",
    "seq_classif_dropout",
)


@dataclass(frozen=True)
class BaseSource:
    """Where a base model lies: `reference` is what an adapter records (hub name or folder), `folder` where it is.

    `revision` is the commit of a hub model. `dropout` replaces every dropout probability of its configuration; None
    keeps them. `made_from` is what is recorded of one that was converted: its title, what it was made from.
    `quantization_options` are those of `from_pretrained` by which it is loaded in fewer bits, see
    `modeling.quantization`.
    """

    name: str
    reference: str
    folder: Path
    revision: str | None
    dropout: float | None = None
    made_from: Mapping[str, str] = field(default_factory=dict)
    quantization_options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def described(self) -> str:
        """The name, and what it stands for where that was converted."""
        return f"{self.name} ({self.made_from['title']})" if self.made_from else self.name

    def load_config(self) -> dict[str, Any]:
        """Return config.json with the dropout that was asked for."""
        replaced = {} if self.dropout is None else dict.fromkeys(DROPOUT_KEYS, self.dropout)
        return {**self.load_json("config.json"), **replaced}

    def load_json(self, file: str) -> dict[str, Any]:
        """Return a JSON file of the folder. Raises ModelError."""
        try:
            loaded = json.loads((self.folder / file).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ModelError(f"'{self.folder / file}' is not JSON: {error}", COPY_AGAIN) from error
        if not isinstance(loaded, dict):
            raise ModelError(f"'{self.folder / file}' holds no settings", COPY_AGAIN)
        return loaded

    def files_digest(self) -> str:
        """Return what identifies configuration and tokenizer: sha256 over the sha256 of every such file."""
        names = [path.name for path in self.folder.iterdir() if path.is_file()]
        # In the hub's cache other programs may add files that are not read here.
        chosen = describing_names(names) if self.revision is not None else text_names(names)
        return _digest_of([self.folder / name for name in chosen])

    def weights_digest(self) -> str:
        """Return what identifies the weights: sha256 over the sha256 of every file of weights, in order of name."""
        return _digest_of(weight_files(self.folder))


def find_base(
    config: ModelConfig,
    log: Log = _say_nothing,
    on_transfer: OnTransfer | None = None,
    *,
    data_folder: Path | None = None,
) -> BaseSource:
    """Find the base model on disk, fetching from the hub what is missing.

    `data_folder` is where the starter chat model is converted; without it, that one cannot be asked for.

    Raises ModelError for a model that cannot be used, HubUnavailableError when it is neither cached nor reachable, and
    the other errors of the hub.
    """
    source = _find_here(config, log, data_folder) or _from_hub(config.name, config.revision, log, on_transfer)
    _validate_folder(source)
    return replace(source, dropout=config.dropout)


def find_tokenizer(
    config: ModelConfig,
    log: Log = _say_nothing,
    on_transfer: OnTransfer | None = None,
    *,
    data_folder: Path | None = None,
) -> BaseSource:
    """Find configuration and tokenizer of a model; of a hub model nothing else is fetched. Raises as `find_base`."""
    if found := _find_here(config, log, data_folder):
        return found
    snapshot = open_snapshot("model", config.name, config.revision, log, _TOKENIZER, _WHOLE)
    if not snapshot.is_listed and not _knows_its_tokenizer(snapshot):
        raise snapshot.fault or unavailable("model", config.name)
    snapshot.require(describing_names(snapshot.files), log, on_transfer)
    snapshot.remember()
    return _source_of(snapshot)


def load_tokenizer(source: BaseSource) -> PreTrainedTokenizerBase:
    """Load the tokenizer; where the model has no padding token of its own, the end token pads.

    That is so without such a token, and with one added to the tokenizer that the model has no embedding for.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(source.folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"the tokenizer of '{source.name}' cannot be loaded: {first_line(error)}",
            "choose a model with tokenizer.json or vocab.txt beside its weights",
        ) from error
    if len(tokenizer) <= len(tokenizer.get_added_vocab()):
        raise no_tokenizer(source.name)
    padding = choose_padding(tokenizer, load_config(source.folder, source.name))
    if padding is None:
        raise ModelError(
            f"the tokenizer of '{source.name}' has neither a padding nor an end token that the model knows",
            "choose another",
        )
    if padding != tokenizer.pad_token:
        tokenizer.pad_token = padding
    return tokenizer


def _find_here(config: ModelConfig, log: Log, data_folder: Path | None) -> BaseSource | None:
    """Return a starter or a folder of this machine, None for what only the hub can have."""
    if config.name == STARTER:
        folder = starter_folder()
        return BaseSource(STARTER, str(folder), folder, None)
    if config.name == STARTER_CHAT:
        if data_folder is None:
            raise ValueError(f"'{STARTER_CHAT}' is converted into a data folder: name it")
        chat = ensure_starter_chat_model(data_folder, log)
        return BaseSource(STARTER_CHAT, str(chat.path), chat.path, None, made_from=chat.made_from())
    if Path(config.name).expanduser().is_dir():
        if config.revision is not None:
            raise ModelError(
                f"model.name: '{config.name}' is a folder here, and model.revision belongs to the hub",
                "leave model.revision out, or rename the folder to mean the hub's model",
            )
        folder = Path(config.name).expanduser().resolve()
        log(f"model: the folder {folder}")
        return BaseSource(config.name, str(folder), folder, None)
    if config.name.startswith((".", "/", "~")) or config.name.count("/") > 1:
        raise ModelError(
            f"model.name: folder '{config.name}' does not exist", "name a folder that exists or a hub model"
        )
    return None


def _from_hub(name: str, revision: str | None, log: Log, on_transfer: OnTransfer | None) -> BaseSource:
    snapshot = open_snapshot("model", name, revision, log, _WHOLE)
    index = [WEIGHTS_INDEX] if WEIGHTS not in snapshot.files and WEIGHTS_INDEX in snapshot.files else []
    snapshot.require(index, log, on_transfer)
    weights = weight_names(snapshot.files, lambda file: (snapshot.folder / file).read_bytes())
    wanted = [*describing_names(snapshot.files), *index, *weights]
    usable = CONFIG in snapshot.files and bool(weights) and snapshot.files.keys() >= set(weights)
    if not snapshot.is_listed and not (usable and _knows_its_tokenizer(snapshot)):
        raise snapshot.fault or unavailable("model", name)  # somebody else's download that did not come to its end
    if missing := sorted(set(weights) - snapshot.files.keys()):
        raise ModelError(
            f"{WEIGHTS_INDEX} of model '{name}' names {missing[0]}, which it lacks", "choose another model"
        )
    if not usable:
        raise _no_weights(name, snapshot.files)
    if not has_tokenizer(snapshot.files):
        raise no_tokenizer(name)
    snapshot.require(wanted, log, on_transfer)
    snapshot.remember()
    log(f"model: {snapshot.reference.describe()}")
    return _source_of(snapshot)


def _source_of(snapshot: Snapshot) -> BaseSource:
    reference = snapshot.reference
    return BaseSource(reference.asked, reference.id, snapshot.folder, reference.commit)


def _validate_folder(source: BaseSource) -> None:
    names = [path.name for path in source.folder.iterdir()]
    if CONFIG not in names and ADAPTER_CONFIG not in names:
        raise ModelError(f"'{source.folder}' has no config.json", "name a folder in the transformers layout")
    if CONFIG not in names or not weight_files(source.folder):
        raise _no_weights(source.name, names)
    config = source.load_json(CONFIG)
    if method := describe_quantization(config):
        raise ModelError(
            f"the weights of model '{source.name}' are quantised ({method}), and only whole ones can be trained here",
            "name the model that it was quantised from",
        )
    if "auto_map" in config and not _known_model_type(config.get("model_type")):
        raise ModelError(
            f"model '{source.name}' needs code from its repository", "remote code is never run; choose another"
        )


def _knows_its_tokenizer(snapshot: Snapshot) -> bool:
    """Return whether a cache without a listing holds a tokenizer whole: what decides is here, or is known not to be."""
    return has_tokenizer(snapshot.files) and all(
        name in snapshot.files or is_known_absent(snapshot.reference, name) for name in TOKENIZER_DECIDERS
    )


def no_tokenizer(name: str) -> ModelError:
    """Return the error for a model without a vocabulary, with which every text would become unknown tokens."""
    return ModelError(
        f"model '{name}' has no tokenizer", "choose a model with tokenizer.json or a vocabulary beside its weights"
    )


def _no_weights(name: str, files: Collection[str]) -> ModelError:
    if ADAPTER_CONFIG in files:
        return ModelError(
            f"'{name}' is an adapter, not a base model",
            "name the model that it was made for in model.name, and the adapter's folder in training.start_adapter to "
            "begin from its weights",
        )
    others = sorted(file for file in files if "/" not in file and file.endswith(OTHER_WEIGHTS))
    found = f"; found {', '.join(others)}" if others else ""
    return ModelError(
        f"model '{name}' has no safetensors weights{found}",
        "only safetensors is read; load model and tokenizer with transformers, save both with "
        "save_pretrained(folder), and name that folder in model.name",
    )


def _digest_of(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name}:{sha256_of(path)}\n".encode())
    return digest.hexdigest()


def _known_model_type(model_type: object) -> bool:
    from transformers import CONFIG_MAPPING

    return model_type in CONFIG_MAPPING
