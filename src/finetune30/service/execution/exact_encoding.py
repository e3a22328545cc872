"""What rows were encoded to, as a digest: of a language model it hangs on more than rows, base files and configuration.

A chat template may be a file that is edited, or write what it is rendered with; another version may render otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from finetune30.data.encoding import EncodedSplit
    from finetune30.data.problem import Targets


def digest_encoding(targets: Targets, splits: Mapping[str, EncodedSplit]) -> dict[str, str]:
    """Return sha256 by name: `chat template`, where the targets hold one, and the encoded rows of each split.

    Nothing for problems whose targets are one a row: their token ids follow from what is on record anyway, and
    checkpoints of before go on.
    """
    asks_tokens = {name: split for name, split in splits.items() if split.targets_per_token}
    template = targets.get("chat", {}).get("template") if asks_tokens else None
    named = {} if template is None else {"chat template": str(template["digest"])}
    return {**named, **{name: split.digest for name, split in asks_tokens.items()}}
