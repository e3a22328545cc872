"""Following what a person is told to do: `ft30` in this process, and what it answered."""

from __future__ import annotations

from typing import NamedTuple

import pytest

import finetune30.cli.main as cli_main


class Said(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def remedy(self) -> str:
        """What stands behind "Try:"."""
        return self.err.partition("\nTry: ")[2].strip() or self.err.partition("Try: ")[2].strip()


class Terminal:
    """Runs `ft30` commands as a person types them."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: object) -> Said:
        """Run a command, given in words."""
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli_main.main([str(argument) for argument in arguments])
        code = ended.value.code
        assert isinstance(code, int)
        return Said(code, *self._capsys.readouterr())

    def type(self, line: str, **values: object) -> Said:
        """Run a line of the form `ft30 …` as a remedy has it, its words in capitals replaced by values."""
        name, *words = line.split()
        assert name == "ft30", line
        return self(*(values.get(word, word) for word in words))
