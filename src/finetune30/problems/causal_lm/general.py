"""What a training made a model forget: its loss on conversations that have nothing to do with the data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from finetune30.data.encoding import EncodedSplit
    from finetune30.modeling.conversations.encoder import ConversationEncoder

#: Carried by the package: half English, half Traditional Chinese (see the datasheet beside it).
FILE = Path(__file__).parents[2] / "data" / "starter" / "general.jsonl"
#: The longest has under 400 tokens with the tokenizers of language models in use.
_MAX_LENGTH = 512


def encode_general(encoder: ConversationEncoder, count: int) -> EncodedSplit | None:
    """Return so many of the general conversations, evenly taken from the file, as this model reads them.

    Those that the template refuses are left out. None where no row is left, or a model has no template: it is asked
    for no answers then.
    """
    if encoder.template is None or count == 0:
        return None
    rows = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    taken = [rows[place] for place in np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)]
    trees: list[dict[str, Any]] = [{"messages": row["messages"]} for row in taken]
    fitting = [json.dumps(tree) for tree in trees if encoder.fit(tree, _MAX_LENGTH).aside is None]
    return encoder.encode_rows(fitting, _MAX_LENGTH) if fitting else None
