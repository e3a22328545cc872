"""The tokens that end a language model's answer by its own configuration, known without loading the model."""

from __future__ import annotations

from finetune30.modeling.base import BaseSource


def end_tokens_of(source: BaseSource) -> frozenset[int]:
    """Return them as transformers finds them: in generation_config.json; where there is none, in config.json."""
    described = "generation_config.json"
    named = source.load_json(described if (source.folder / described).is_file() else "config.json").get("eos_token_id")
    return frozenset(named if isinstance(named, list) else [] if named is None else [named])
