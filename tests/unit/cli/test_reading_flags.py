"""Flags that say how data are read mean the same to a training and to the commands about data."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from finetune30.cli.config_options import config_options, given_keys, reading_options
from finetune30.cli.main import app


def given(decorate: object, *arguments: str) -> dict[str, object]:
    """Return the keys that a command with these options gets."""
    found: dict[str, object] = {}

    @click.command()
    @click.pass_context
    def command(context: click.Context, /, **_: object) -> None:
        found.update(given_keys(context))

    decorated = decorate(command)  # type: ignore[operator]
    result = CliRunner().invoke(decorated, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return found


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        (["--text_pair_column", "b"], {"data.text_pair_column": "b"}),
        (["--text-pair-column", "b"], {"data.text_pair_column": "b"}),
        (["--data.text_pair_column", "b"], {"data.text_pair_column": "b"}),
        (["--encoding", "big5", "--sheet", "2"], {"data.encoding": "big5", "data.sheet": "2"}),
        (["--label_columns", "a", "--label_columns", "b"], {"data.label_columns": ["a", "b"]}),
        (["--data.label_columns", "[a, b]"], {"data.label_columns": ["a", "b"]}),
        (["--problem_type", "regression"], {"model.problem_type": "regression"}),
        (["--label_separator", ";"], {"data.label_separator": ";"}),
        (["--text_column", "007"], {"data.text_column": "007"}),
    ],
)
def test_every_spelling_gives_the_same_key_to_every_command(arguments: list[str], keys: dict[str, object]) -> None:
    assert given(config_options, *arguments) == keys
    assert given(reading_options(), *arguments) == keys


def test_two_values_for_one_key_are_refused() -> None:
    from finetune30.errors import UsageError

    with pytest.raises(UsageError, match=r"data\.text_column is given twice"):
        given(reading_options(), "--text_column", "a", "--data.text_column", "b")


def test_the_folder_of_clean_files_has_the_name_that_results_have_everywhere(tmp_path: Path) -> None:
    rows = "".join(f"a clean text number {n},{'ab'[n % 2]}\n" for n in range(12))
    (tmp_path / "rows.csv").write_text(f"text,label\n{rows}", encoding="utf-8")
    for flag in ("--output", "--out"):
        folder = tmp_path / flag.strip("-")
        done = CliRunner().invoke(app, ["data", "clean", str(tmp_path / "rows.csv"), flag, str(folder)])
        assert done.exit_code == 0, done.output
        assert [path.name for path in folder.iterdir()] == ["train.csv"]
