"""Which base models on this machine read given texts: the starter and what the hub's cache holds; no torch.

A tokenizer that was made for a language has a token for nearly everything in it, and needs few of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from finetune30.config import STARTER
from finetune30.data.unknown_tokens import WARNING_SHARE
from finetune30.errors import ModelError
from finetune30.hub.cache import cached_repositories
from finetune30.modeling.model_files import CONFIG, WEIGHTS, WEIGHTS_INDEX
from finetune30.modeling.names import starter_folder

_TOKENIZER = "tokenizer.json"
#: Tokens a character above which a text is read byte by byte: the vocabulary has none of its characters.
_BYTEWISE = 1.5
#: Characters of a text that are looked at.
_LONGEST = 500


@dataclass(frozen=True)
class Reader:
    """A base model and how it reads some texts.

    `unknown_share`: share of tokens that it has none for; `tokens_per_character`; both None where its tokenizer could
    not be tried. `fits`: it reads them.
    """

    name: str
    model_type: str
    unknown_share: float | None
    tokens_per_character: float | None

    @property
    def fits(self) -> bool:
        """Whether it has tokens for these texts, others than single bytes."""
        if self.unknown_share is None or self.tokens_per_character is None:
            return False
        return self.unknown_share <= WARNING_SHARE and self.tokens_per_character <= _BYTEWISE


def find_readers(texts: Sequence[str]) -> list[Reader]:
    """Return the base models that lie on this machine: those that fit first, the shorter their reading the better."""
    found = [_try(name, folder, texts) for name, folder in _folders()]
    return sorted(
        (reader for reader in found if reader is not None),
        key=lambda reader: (not reader.fits, round(reader.tokens_per_character or 9.0, 2), reader.name),
    )


def _folders() -> Iterator[tuple[str, Path]]:
    # Without the starter chat model: who wants that one names it.
    with suppress(ModelError):  # it was left out at the installation, which said so
        yield STARTER, starter_folder()
    for name, folder in cached_repositories("model"):
        if (folder / CONFIG).is_file() and any((folder / weights).is_file() for weights in (WEIGHTS, WEIGHTS_INDEX)):
            yield name, folder


def _try(name: str, folder: Path, texts: Sequence[str]) -> Reader | None:
    """Return how a model reads the texts; None for what is no base model of transformers."""
    try:
        settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        model_type = settings["model_type"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    measured = _measure(folder / _TOKENIZER, texts) if (folder / _TOKENIZER).is_file() else None
    unknown, length = measured or (None, None)
    return Reader(name, str(model_type), unknown, length)


def _measure(tokenizer_file: Path, texts: Sequence[str]) -> tuple[float, float] | None:
    """Return the share of unknown tokens and the tokens a character; None where nothing can be measured."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(tokenizer_file))
    except Exception:  # noqa: BLE001 - the library raises plain Exceptions; the run itself will say what is wrong
        return None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    shown = [text[:_LONGEST] for text in texts]
    ids = [piece for found in tokenizer.encode_batch(shown, add_special_tokens=False) for piece in found.ids]
    characters = sum(sum(not character.isspace() for character in text) for text in shown)
    if not ids or not characters:
        return None
    unknown = json.loads(tokenizer.to_str())["model"].get("unk_token") or "<unk>"
    unknown_id = tokenizer.token_to_id(str(unknown))
    return sum(piece == unknown_id for piece in ids) / len(ids), len(ids) / characters
