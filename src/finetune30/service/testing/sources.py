"""Which rows are kept for a run's test, told without reading one of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from finetune30.config import ExperimentConfig
from finetune30.config.schema import VERSION_PREFIX
from finetune30.errors import ConflictError, DataError

if TYPE_CHECKING:
    from finetune30.data.versions.manifest import Manifest

#: What a source without other names calls its rows for tests.
TEST_SPLIT = "test"
_REMEDY = "keep rows for it and train anew: set data.test_fraction, data.test_split or data.test_file"


@dataclass(frozen=True)
class SourceOfTest:
    """Where test rows are: pieces of the run's version, a split of its data set, or a file (`name`)."""

    kind: Literal["version", "split", "file"]
    name: str

    def describe(self) -> str:
        """Return words for a log."""
        if self.kind == "version":
            return f"the rows that version {self.name[:12]} keeps for a test"
        return f"the {self.kind} {self.name!r}"

    def require(self) -> None:
        """Raise DataError for a file that is not there: nothing was looked at then."""
        if self.kind == "file" and not Path(self.name).expanduser().is_file():
            raise DataError(f"the file of the test rows is not there: {self.name}", "put it there, then look again")


def find_test_source(config: ExperimentConfig, manifest: Manifest) -> SourceOfTest:
    """Return where the test rows of a run are.

    Rows of its version come first, then what the configuration names, then a split `test` of its data set that it
    was not evaluated on. Raises ConflictError where there are none.
    """
    data = config.data
    if manifest.test_digest is not None:
        return SourceOfTest("version", manifest.digest)
    if data.test_file is not None:
        return SourceOfTest("file", data.test_file)
    if data.test_split is not None:
        return SourceOfTest("split", data.test_split)
    evaluated = manifest.source.get("eval_split")
    if evaluated == TEST_SPLIT:
        raise ConflictError(
            "its evaluation rows are the split 'test': what was chosen by them is tested already", _REMEDY
        )
    if TEST_SPLIT in manifest.source.get("splits", ()) and not data.dataset_name.startswith(VERSION_PREFIX):
        return SourceOfTest("split", TEST_SPLIT)
    raise ConflictError("it has no test rows", _REMEDY)
