"""Files as people have them: small ones of the same shape as those that public reports describe, and what they hold.

Each has a line in docs/inputs-people-have.md. What is right was decided before the readers were asked.
"""

from support.inputs.case import Case
from support.inputs.delimited import DELIMITED
from support.inputs.encoded import ENCODED
from support.inputs.json_files import JSON_FILES
from support.inputs.packed import PACKED

CASES: tuple[Case, ...] = (*DELIMITED, *ENCODED, *JSON_FILES, *PACKED)

__all__ = ["CASES", "Case"]
