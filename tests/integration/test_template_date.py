"""The date that a chat template writes: that of the day on which a run began, whenever it goes on or is repeated."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from finetune30.config import ExperimentConfig
from finetune30.problems.trainables import load_trainable
from finetune30.service.execution import experiment
from support.chat_families import LLAMA
from support.talk_lab import CONFIG, write_talk


class FirstDay(date):
    """A day on which a run begins."""

    @classmethod
    def today(cls) -> FirstDay:
        return cls(2025, 3, 9)


class NextDay(date):
    """The day after it."""

    @classmethod
    def today(cls) -> NextDay:
        return cls(2025, 3, 10)


def load(config: ExperimentConfig, folder: Path) -> experiment.Inputs:
    return experiment.load_inputs(config, frozenset(), lambda _: None, folder)


def test_a_run_keeps_the_date_of_its_first_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_talk(tmp_path)
    (tmp_path / "dated.jinja").write_text(LLAMA, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiment, "date", FirstDay)
    first = load(ExperimentConfig.model_validate({**CONFIG, "chat": {"template": "dated.jinja"}}), tmp_path)
    plain = load(ExperimentConfig.model_validate(CONFIG), tmp_path)
    monkeypatch.setattr(experiment, "date", NextDay)
    again = load(first.config, tmp_path)
    assert (first.config.chat.date, again.config.chat.date, plain.config.chat.date) == (
        "2025-03-09",
        "2025-03-09",
        None,
    )
    trainable = load_trainable("causal_lm", {}).with_base(again.source, again.config, lambda _: None)
    assert trainable.targets["chat"]["template"]["date"] == "2025-03-09"


def test_a_day_is_written_as_yaml_reads_it_or_as_text() -> None:
    for written in (date(2025, 3, 9), "2025-03-09"):
        assert ExperimentConfig.model_validate({"chat": {"date": written}}).chat.date == "2025-03-09"
    for wrong in ("2025-02-30", "9 March", 20250309):
        with pytest.raises(ValueError, match="date"):
            ExperimentConfig.model_validate({"chat": {"date": wrong}})
