"""Drafts in the address: read, written, hostile ones too."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from finetune30.ui import drafts, form
from finetune30.ui.drafts import Draft
from finetune30.ui.fields import merged


class Params(dict[str, Any]):
    """The parameters of an address, as Streamlit gives them."""

    def get_all(self, name: str) -> list[str]:
        return list(self.get(name, []))


class Visit:
    """A visitor: the address and the session."""

    def __init__(self) -> None:
        self.query_params, self.session_state = Params(), dict[str, Any]()


@pytest.fixture
def visit(monkeypatch: pytest.MonkeyPatch) -> Visit:
    made = Visit()
    monkeypatch.setattr(drafts, "st", made)
    return made


DRAFT = Draft("starter", {"experiment_name": "評論 1", "training": {"max_steps": None, "seed": 7}}, "upload")


def test_what_one_visitor_writes_another_reads(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    assert drafts.write(DRAFT)
    assert visit.query_params["set"] == ['experiment_name="評論 1"', "training.max_steps=null", "training.seed=7"]
    friend = Visit()
    friend.query_params = visit.query_params
    monkeypatch.setattr(drafts, "st", friend)
    assert drafts.read_new() == DRAFT
    drafts.take()
    assert drafts.read_new() is None


def test_an_address_of_ones_own_is_never_read_back(visit: Visit) -> None:
    drafts.write(DRAFT)
    one_edit_behind = Params(visit.query_params)
    drafts.write(Draft("starter", {"training": {"seed": 8}}))
    assert "source" not in visit.query_params
    visit.query_params = one_edit_behind  # as a press brings it that was made before the page knew of the edit
    assert drafts.read_new() is None


def test_a_draft_too_long_for_an_address_is_told(visit: Visit) -> None:
    assert not drafts.write(Draft("starter", {"experiment_name": "x" * drafts.LONGEST}))
    assert visit.query_params == {"preset": "starter"}


def test_characters_are_counted_as_an_address_writes_them(visit: Visit) -> None:
    assert drafts.write(Draft("starter", {"experiment_name": "評" * (drafts.LONGEST // 9 - 10)}))
    assert not drafts.write(Draft("starter", {"experiment_name": "評" * (drafts.LONGEST // 9)}))


@pytest.mark.parametrize(
    ("entries", "changed"),
    [
        (["experiment_name=plain words"], {"experiment_name": "plain words"}),
        (["lora=1", "lora.r=4"], {"lora": {"r": 4}}),
        (["training.max_grad_norm=1e999"], {"training": {"max_grad_norm": "1e999"}}),
        (["training.max_grad_norm=NaN"], {"training": {"max_grad_norm": "NaN"}}),
        (["nothing", "=1", ""], {}),
        (["a=" + "[" * 100_000], {"a": "[" * 100_000}),
    ],
)
def test_any_address_is_a_draft_that_the_api_can_judge(
    visit: Visit, entries: list[str], changed: dict[str, Any]
) -> None:
    visit.query_params = Params(preset="default", set=entries)
    assert drafts.read_new() == Draft("default", changed)


def test_without_a_preset_there_is_no_draft(visit: Visit) -> None:
    visit.query_params = Params(set=["lora.r=4"])
    assert drafts.read_new() is None


@pytest.mark.parametrize("written", ["5", "null", "[]", '"words"'])
def test_what_stands_in_the_place_of_a_section_is_sent_for_the_api_to_judge(
    visit: Visit, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    visit.query_params = Params(preset="default", set=[f"training={written}"])
    read = drafts.read_new()
    assert read is not None
    base = {"training": {"seed": 1}}
    state = SimpleNamespace(draft_preset="default", draft_base=base)
    monkeypatch.setattr(form, "st", SimpleNamespace(session_state=state))
    monkeypatch.setattr(form, "load_draft", lambda: merged(base, read.changed))
    assert form.build_request() == {"preset": "default", "config": {"training": json.loads(written)}}
