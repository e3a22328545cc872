"""What commands about models say to do next is done to the letter, and what was asked for is then there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetune30.store import Run, RunStore
from finetune30.store.process_identity import own_identity
from finetune30.store.servers import tell_server
from support.following import Terminal
from support.registered import finish_model_run, register_ready

RESULTS = Path("results")


@pytest.fixture
def runs(store: RunStore, ft30: Terminal) -> list[Run]:
    """Two versions of the model reviews, the first of which is in production."""
    found = [finish_model_run(store, RESULTS, name) for name in ("one", "three")]
    for run in found:
        register_ready(store, RESULTS, run, "reviews")
    assert promote(ft30, 1) == 0
    return found


def promote(ft30: Terminal, number: int, *options: str) -> int:
    return ft30("models", "promote", "reviews", str(number), "--to", "production", "--reason", "better", *options).code


def test_a_first_model_is_named_as_the_empty_list_says(ft30: Terminal, store: RunStore) -> None:
    run = finish_model_run(store, RESULTS)
    listed = ft30("models", "list")
    assert "No models that fit. Name one with: ft30 models register RUN NAME" in listed.out
    assert ft30("models", "register", run.id, "reviews").out.startswith("reviews:1\n")
    assert "reviews" in ft30("models", "list").out


@pytest.mark.usefixtures("runs")
def test_a_version_is_written_as_the_list_names_models(ft30: Terminal) -> None:
    refused = ft30("models", "card", "Reviews")
    assert refused.remedy == "write NAME, NAME@alias or NAME:7: ft30 models list"
    assert "reviews" in ft30.type("ft30 models list").out
    for name in ("reviews", "reviews@production", "reviews:2"):
        assert ft30("models", "card", name).out.startswith("# reviews, version")


@pytest.mark.usefixtures("runs")
def test_a_model_that_is_not_there_is_one_of_the_list(ft30: Terminal) -> None:
    refused = ft30("models", "show", "review")
    assert refused.remedy == "see all models with: ft30 models list"
    assert "reviews" in ft30.type("ft30 models list").out
    assert ft30("models", "show", "reviews").code == 0


@pytest.mark.usefixtures("runs")
def test_a_version_that_is_not_there_is_one_of_those_shown(ft30: Terminal) -> None:
    refused = ft30("runs", "show", "reviews:3")
    assert refused.remedy == "see it with: ft30 models show reviews"
    assert "three" in ft30.type("ft30 models show reviews").out
    assert ft30("runs", "show", "reviews:2").code == 0


def test_a_run_with_a_version_is_hidden_and_not_deleted(ft30: Terminal, runs: list[Run]) -> None:
    refused = ft30("runs", "delete", "--yes", runs[0].id)
    assert "is reviews:1 and cannot be deleted" in refused.err
    assert refused.remedy == f"hide it in listings instead: ft30 runs edit {runs[0].id[:8]} --archive"
    assert ft30.type(f"ft30 runs edit {runs[0].id[:8]} --archive").code == 0
    assert runs[0].id[:8] not in ft30("runs", "list").out


@pytest.mark.usefixtures("runs")
def test_who_was_too_late_looks_at_the_history_and_decides_again(ft30: Terminal) -> None:
    assert promote(ft30, 2, "--expect", "1") == 0
    refused = ft30("models", "rollback", "reviews", "production", "--reason", "worse", "--expect", "1")
    assert "has generation 2, not 1" in refused.err
    assert refused.remedy == "look at it, then decide again: ft30 models history reviews"
    assert "(generation 2)" in ft30.type("ft30 models history reviews").out
    assert ft30("models", "rollback", "reviews", "production", "--reason", "worse", "--expect", "2").code == 0


@pytest.mark.usefixtures("runs")
def test_a_move_without_a_reason_gets_one(ft30: Terminal) -> None:
    refused = ft30("models", "promote", "reviews", "2", "--to", "production", "--reason", " ")
    assert refused.remedy == "say why with --reason TEXT"
    assert promote(ft30, 2) == 0


@pytest.mark.usefixtures("runs")
def test_instead_of_a_retired_version_one_of_the_others_is_promoted(ft30: Terminal) -> None:
    assert ft30("models", "retire", "reviews", "2", "--reason", "worse").out == "reviews:2 is RETIRED\n"
    refused = ft30("models", "promote", "reviews", "2", "--to", "staging", "--reason", "better")
    assert refused.remedy == "choose another: ft30 models show reviews"
    assert "READY" in ft30.type("ft30 models show reviews").out
    assert ft30("models", "promote", "reviews", "1", "--to", "staging", "--reason", "better").code == 0


@pytest.mark.usefixtures("runs")
def test_a_move_to_where_the_alias_leads_is_in_the_history(ft30: Terminal) -> None:
    refused = ft30("models", "promote", "reviews", "1", "--to", "production", "--reason", "again")
    assert refused.remedy == "see it: ft30 models history reviews"
    assert "promoted production to version 1" in ft30.type("ft30 models history reviews").out


@pytest.mark.usefixtures("runs")
def test_an_alias_that_never_moved_is_promoted_not_rolled_back(ft30: Terminal) -> None:
    refused = ft30("models", "rollback", "reviews", "staging", "--reason", "worse")
    assert refused.remedy == "promote one: ft30 models promote reviews VERSION --to staging --reason TEXT"
    assert ft30.type("ft30 models promote reviews 2 --to staging --reason better").code == 0


@pytest.mark.usefixtures("runs")
def test_a_version_in_use_is_retired_after_another_was_promoted(ft30: Terminal) -> None:
    refused = ft30("models", "retire", "reviews", "1", "--reason", "old")
    told = "promote another version first: ft30 models promote reviews VERSION --to production --reason TEXT"
    assert refused.remedy == told
    assert ft30.type("ft30 models promote reviews 2 --to production --reason better").code == 0
    assert ft30("models", "retire", "reviews", "1", "--reason", "old").code == 0


def test_a_version_that_is_not_checked_yet_is_checked(ft30: Terminal, store: RunStore) -> None:
    """This one's weights fit no base model, so the check cannot be made, and says why."""
    run = finish_model_run(store, RESULTS)
    assert ft30("models", "register", run.id, "reviews").code == 1
    refused = ft30("models", "promote", "reviews", "1", "--to", "production", "--reason", "better")
    assert refused.remedy == "check it: ft30 models verify reviews:1"
    assert (
        "weights are in the saved adapter or in this model, but not in both"
        in ft30.type("ft30 models verify reviews:1").err
    )


@pytest.mark.usefixtures("runs")
def test_a_server_that_does_not_follow_is_seen_and_the_move_taken_back(ft30: Terminal, store: RunStore) -> None:
    told = {"name": "reviews@production", "state": "READY", "model": "reviews", "version": 1, "generation": 1}
    tell_server(store, "s" * 32, own_identity(), "http://localhost:8100", [told])
    refused = ft30("models", "promote", "reviews", "2", "--to", "production", "--reason", "better", "--wait", "0.1")
    assert refused.code == 1
    assert "reviews@production leads to reviews:2, before reviews:1 (generation 2)" in refused.out
    assert "but 1 of 1 servers do not answer with it: http://localhost:8100" in refused.err
    remedy = "see them: ft30 models servers reviews; or go back: ft30 models rollback reviews production --reason TEXT"
    assert refused.remedy == remedy
    assert "reviews:1, READY" in " ".join(ft30.type("ft30 models servers reviews").out.split())
    tell_server(store, "s" * 32, own_identity(), "http://localhost:8100", [{**told, "generation": 3}])
    waited = ft30("models", "rollback", "reviews", "production", "--reason", "late", "--wait")
    assert waited.code == 0
    assert "servers that answer with reviews:1, or by a later move: http://localhost:8100" in waited.out
    (listed,) = json.loads(ft30("models", "servers", "--json").out)
    assert (listed["address"], listed["silent"], listed["names"][0]["generation"]) == (
        "http://localhost:8100",
        False,
        3,
    )
