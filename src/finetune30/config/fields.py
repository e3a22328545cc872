"""What the configuration schema knows about each key: its type, bounds, allowed values and nearest relatives.

Everything here is derived from `ExperimentConfig`, so that error texts, command-line flags and reference pages
cannot disagree with the validation.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cache
from typing import Any

from finetune30.config.schema import ExperimentConfig

#: Short names of the common keys, the same as flags of the command line and in requests.
SHORT_NAMES: dict[str, str] = {
    "experiment_name": "experiment_name",
    "model": "model.name",
    "num_labels": "model.num_labels",
    "dataset": "data.dataset_name",
    "train_samples": "data.train_samples",
    "eval_samples": "data.eval_samples",
    "epochs": "training.num_train_epochs",
    "learning_rate": "training.learning_rate",
    "batch_size": "training.per_device_train_batch_size",
    "device": "training.device",
    "seed": "training.seed",
    "output_dir": "training.output_dir",
}

#: Short names of the keys that say how data are read, flags of every command that reads some. Requests have the keys.
READING_NAMES: dict[str, str] = {
    "text_column": "data.text_column",
    "text_pair_column": "data.text_pair_column",
    "label_column": "data.label_column",
    "label_columns": "data.label_columns",
    "label_separator": "data.label_separator",
    "group_column": "data.group_column",
    "conversation_format": "data.conversation_format",
    "eval_file": "data.eval_file",
    "eval_split": "data.eval_split",
    "train_split": "data.train_split",
    "dataset_config": "data.dataset_config",
    "revision": "data.revision",
    "encoding": "data.encoding",
    "sheet": "data.sheet",
    "problem_type": "model.problem_type",
}
#: Short names of keys that only flags have.
FLAG_NAMES: dict[str, str] = {"max_steps": "training.max_steps"}

#: Spellings of other tools, and what they are called here.
FOREIGN_KEYS: dict[str, str] = {
    "adapter_rank": "lora.r",
    "alpha": "lora.lora_alpha",
    "batch_size": "training.per_device_train_batch_size",
    "base_model": "model.name",
    "cutoff_len": "data.max_length",
    "dataset": "data.dataset_name",
    "dropout": "lora.lora_dropout",
    "early_stopping": "training.early_stopping_patience",
    "epochs": "training.num_train_epochs",
    "eval_batch_size": "training.per_device_eval_batch_size",
    "evaluation_strategy": "training.eval_strategy",
    "grad_accum": "training.gradient_accumulation_steps",
    "gradient_clipping": "training.max_grad_norm",
    "gradient_clip_val": "training.max_grad_norm",
    "label": "data.label_column",
    "learning_rate_scheduler": "training.lr_scheduler_type",
    "lora_dim": "lora.r",
    "lora_plus_ratio": "lora.loraplus_lr_ratio",
    "lora_r": "lora.r",
    "lora_rank": "lora.r",
    "lora_target": "lora.target_modules",
    "loraplus_ratio": "lora.loraplus_lr_ratio",
    "lr": "training.learning_rate",
    "lr_scheduler": "training.lr_scheduler_type",
    "max_epochs": "training.num_train_epochs",
    "max_samples": "data.train_samples",
    "max_seq_len": "data.max_length",
    "max_seq_length": "data.max_length",
    "mixed_precision": "training.precision",
    "model_name": "model.name",
    "model_name_or_path": "model.name",
    "name": "experiment_name",
    "neftune_alpha": "training.neftune_noise_alpha",
    "num_epochs": "training.num_train_epochs",
    "num_classes": "model.num_labels",
    "num_train_samples": "data.train_samples",
    "quantization_bit": "model.quantization",
    "random_seed": "training.seed",
    "rank": "lora.r",
    "rslora": "lora.use_rslora",
    "run_name": "experiment_name",
    "scheduler": "training.lr_scheduler_type",
    "text": "data.text_column",
    "train_batch_size": "training.per_device_train_batch_size",
    "warmup": "training.warmup_ratio",
}

#: Switches of other tools that became a value of one key here.
FOREIGN_SWITCHES: dict[str, str] = {
    "bf16": "for true write training.precision: bf16, for false leave it out",
    "fp16": "for true write training.precision: fp16, for false leave it out",
    "load_in_4bit": "for true write model.quantization: nf4, for false leave it out",
    "load_in_8bit": "for true write model.quantization: int8, for false leave it out",
    "no_cuda": "for true write training.device: cpu, for false leave it out",
    "use_cpu": "for true write training.device: cpu, for false leave it out",
    "use_mps_device": "for true write training.device: mps, for false leave it out",
}


@cache
def field_schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schema of every leaf field by its dotted key, in the order of the schema."""
    root = ExperimentConfig.model_json_schema()
    definitions = root.get("$defs", {})
    found: dict[str, dict[str, Any]] = {}

    def walk(schema: dict[str, Any], prefix: str) -> None:
        for name, field in schema["properties"].items():
            section = definitions.get(field.get("$ref", "").removeprefix("#/$defs/"))
            if section is not None and "properties" in section:
                walk(section, f"{prefix}{name}.")
            else:
                found[f"{prefix}{name}"] = field

    walk(root, "")
    return found


@cache
def section_keys() -> frozenset[str]:
    """Return the dotted keys of all sections: model, lora, data, data.validation_rules …"""
    return frozenset(key.rsplit(".", depth)[0] for key in field_schemas() for depth in range(1, key.count(".") + 1))


def accepted_types(schema: dict[str, Any]) -> frozenset[str]:
    """Return the JSON types that a field accepts: string, integer, number, boolean, array, null."""
    found: set[str] = set()
    for option in schema.get("anyOf", [schema]):
        if "type" in option:
            found.add(option["type"])
        elif "enum" in option or "const" in option:
            found |= {"string"}
    return frozenset(found)


def reads_as_text(path: tuple[str, ...]) -> bool:
    """Say whether an unquoted scalar at this place stays text, so that `revision: 5e10123` is no number."""
    schema = field_schemas().get(".".join(path))
    if schema is None:
        return False
    return "string" in accepted_types(schema) and not accepted_types(schema) & {"integer", "number", "boolean"}


def describe_allowed(schema: dict[str, Any]) -> str:
    """Say in words what a field allows, for example "a number above 0 and at most 1, or null"."""
    if "allowed" in schema:
        return str(schema["allowed"])
    options = [_describe_option(option) for option in schema.get("anyOf", [schema])]
    return ", or ".join(dict.fromkeys(option for option in options if option))


def suggest_key(path: tuple[str, ...]) -> str:
    """Return a hint for an unknown key: the key it is called here, or the nearest known one; "" when none is near."""
    leaf, dotted, known = path[-1], ".".join(path), list(field_schemas())
    if leaf.lower() in FOREIGN_SWITCHES:
        return FOREIGN_SWITCHES[leaf.lower()]
    foreign = FOREIGN_KEYS.get(leaf.lower().replace("-", "_"))
    namesakes = [key for key in known if key.rsplit(".", 1)[-1] == leaf and key != dotted]
    if leaf in known:  # a dotted key written out in the file
        return f"write {leaf.rsplit('.', 1)[1]}: below {leaf.rsplit('.', 1)[0]}:"
    near = (
        namesakes
        or ([foreign] if foreign else [])
        or _nearest_sibling(path, known)
        or _nearest_leaf(leaf, known)
        or difflib.get_close_matches(dotted, [*known, *section_keys()], n=1, cutoff=0.6)
    )
    return f"did you mean {near[0]}?" if near else ""


def _nearest_sibling(path: tuple[str, ...], known: Iterable[str]) -> list[str]:
    prefix = "".join(f"{part}." for part in path[:-1])
    siblings = {key.removeprefix(prefix).split(".", 1)[0]: None for key in known if key.startswith(prefix)}
    return [prefix + name for name in difflib.get_close_matches(path[-1], siblings, n=1, cutoff=0.6)]


def _nearest_leaf(leaf: str, known: Iterable[str]) -> list[str]:
    by_leaf = {key.rsplit(".", 1)[-1]: key for key in known}
    return [by_leaf[name] for name in difflib.get_close_matches(leaf, by_leaf, n=1, cutoff=0.75)]


def _describe_option(option: dict[str, Any]) -> str:
    if "const" in option:
        return f"'{option['const']}'"
    if "enum" in option:
        return "one of " + ", ".join(str(value) for value in option["enum"])
    kind = option.get("type")
    if kind == "null":
        return "null"
    if kind == "boolean":
        return "true or false"
    if kind == "array":
        return f"a list of {_describe_items(option.get('items', {}))}"
    if kind == "string":
        return _describe_text(option)
    if kind in ("integer", "number"):
        noun = "a whole number" if kind == "integer" else "a number"
        return f"{noun} {_describe_bounds(option)}".strip()
    return ""


def _describe_items(items: dict[str, Any]) -> str:
    if items.get("type") == "integer":
        return f"whole numbers {_describe_bounds(items)}".strip()
    return "names"


def _describe_text(option: dict[str, Any]) -> str:
    low, high = option.get("minLength"), option.get("maxLength")
    if low is None and high is None:
        return "text"
    return f"text of at most {high} characters" if not low else f"text of {low} to {high} characters"


def _describe_bounds(option: dict[str, Any]) -> str:
    parts = [
        f"{word} {_plain(option[key])}"
        for key, word in (
            ("minimum", "from"),
            ("exclusiveMinimum", "above"),
            ("maximum", "up to"),
            ("exclusiveMaximum", "below"),
        )
        if key in option
    ]
    return " ".join(parts)


def _plain(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else f"{number:g}"
