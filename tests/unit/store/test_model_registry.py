"""The registry's rows: versions are counted and immutable, aliases are moved once a generation, events stay."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import delete, event, update
from sqlalchemy.exc import DBAPIError

from finetune30.config.schema import ExperimentConfig
from finetune30.errors import ConflictError, NotFoundError, StaleGenerationError, StorageError, UsageError
from finetune30.store import Run, RunStore, open_store
from finetune30.store.database import writing
from finetune30.store.model_names import ModelReference, parse_reference, require_alias, require_model_name
from finetune30.store.model_records import ModelVersion, NewVersion, VersionState
from finetune30.store.model_registry import (
    find_events,
    find_followed,
    find_model,
    find_version,
    move_alias,
    register_version,
    retire_version,
    roll_back_alias,
    settle_version,
)
from finetune30.store.model_tables import model_events
from support.published import finish_run
from support.run_store_lab import Lab

PROBLEM = "single_label_classification"


def finished(lab: Lab, name: str = "trial") -> Run:
    return finish_run(lab.store, ExperimentConfig(experiment_name=name), lab.results)


def new_version(run: Run, content: str = "a", problem: str = PROBLEM) -> NewVersion:
    sums = {f"{what}_sha256": content * 64 for what in ("manifest", "adapter", "labels", "base")}
    return NewVersion(run_id=run.id, problem_type=problem, facts={"run_name": run.name}, **sums)


def without_files(_number: int, _known: Sequence[int]) -> str:
    return "f" * 64


def register(lab: Lab, content: str = "a", name: str = "reviews", run: Run | None = None) -> ModelVersion:
    new = new_version(run or finished(lab), content)
    made = register_version(lab.store, name, new, without_files, actor="anna")[0]
    return settle_version(lab.store, name, made.number, VersionState.READY, {"faults": []}, actor="anna")


def move(store: RunStore, number: int, seen: int, actor: str = "anna", alias: str = "production") -> int:
    return move_alias(store, "reviews", alias, number, seen=seen, actor=actor, reason="better").alias.generation


def test_version_and_generation_are_of_one_moment_also_when_the_alias_moves_in_between(lab: Lab) -> None:
    """Whatever question is being answered as somebody moves the alias, both are of before the move, or of after it."""
    for content in "ab":
        register(lab, content)
    led_to, questions = {move(lab.store, 1, 0): 1}, 1
    mover = open_store(lab.store.engine.url.render_as_string(hide_password=False))
    for place in range(20):
        asked = 0

        def look_on(*_: object, place: int = place) -> None:
            nonlocal asked
            asked += 1
            if asked == place + 1:
                generation = max(led_to)
                number = 3 - led_to[generation]
                led_to[move(mover, number, generation)] = number

        event.listen(lab.store.engine, "after_cursor_execute", look_on)
        try:
            version, found = find_followed(lab.store, ModelReference("reviews", "production", None))
        finally:
            event.remove(lab.store.engine, "after_cursor_execute", look_on)
        assert found is not None
        assert led_to[found] == version.number
        questions = max(questions, asked)
    assert 4 <= questions < 20
    assert len(led_to) > questions // 2  # it was moved within
    version = find_version(lab.store, ModelReference("reviews", None, 2))
    assert find_followed(lab.store, ModelReference("reviews", None, 2)) == (version, None)
    mover.close()


def test_versions_are_counted_and_the_same_files_are_the_version_that_is_there(lab: Lab) -> None:
    first, second = register(lab, "a"), register(lab, "b")
    assert (first.name, second.name) == ("reviews:1", "reviews:2")
    run = lab.store.get(second.run_id)
    again, is_new = register_version(lab.store, "reviews", new_version(run, "b"), without_files, actor="ben")
    assert (again, is_new) == (second, False)
    assert [event.kind for event in find_events(lab.store, "reviews")] == ["registered", "certified"] * 2


def test_a_version_is_named_wherever_a_run_is(lab: Lab) -> None:
    run = finished(lab)
    register(lab, run=run)
    move(lab.store, 1, 0)
    for name in ("reviews:1", "reviews@production", "reviews@latest", "reviews@v1"):
        assert lab.store.get(name).id == run.id
    for name in ("reviews:2", "reviews@staging", "reviews@v2", "others:1"):
        with pytest.raises(NotFoundError):
            lab.store.get(name)


def test_latest_is_the_newest_that_is_not_retired(lab: Lab) -> None:
    register(lab, "a")
    register(lab, "b")
    retired = retire_version(lab.store, "reviews", 2, actor="anna", reason="worse")
    assert retired.state is VersionState.RETIRED
    assert find_version(lab.store, ModelReference("reviews", "latest", None)).number == 1
    with pytest.raises(ConflictError, match="reviews:2 is RETIRED"):
        move(lab.store, 2, 0)


def test_a_version_under_an_alias_cannot_be_retired_nor_its_run_deleted(lab: Lab) -> None:
    version = register(lab)
    move(lab.store, 1, 0)
    with pytest.raises(ConflictError, match="reviews:1 is under reviews@production"):
        retire_version(lab.store, "reviews", 1, actor="anna", reason="old")
    with pytest.raises(ConflictError, match="is reviews:1 and cannot be deleted"):
        lab.store.delete(version.run_id, lab.results)
    assert (lab.results / lab.store.get(version.run_id).folder).is_dir()


def test_a_model_is_for_one_problem_and_of_finished_runs(lab: Lab) -> None:
    register(lab)
    with pytest.raises(ConflictError, match="learnt regression"):
        register_version(
            lab.store, "reviews", new_version(finished(lab), "c", "regression"), without_files, actor="anna"
        )
    with pytest.raises(ConflictError, match="is QUEUED now"):
        register_version(lab.store, "others", new_version(lab.create(), "c"), without_files, actor="anna")
    with pytest.raises(NotFoundError):
        find_model(lab.store, "others")


def test_who_saw_another_generation_is_told_who_moved_the_alias(lab: Lab) -> None:
    register(lab, "a")
    register(lab, "b")
    assert move(lab.store, 1, 0, "anna") == 1
    with pytest.raises(StaleGenerationError, match="generation 1, not 0: anna let it lead to reviews:1") as stale:
        move(lab.store, 2, 0, "ben")
    assert stale.value.details["alias"]["moved_by"] == "anna"
    assert move(lab.store, 2, 1, "ben") == 2
    with pytest.raises(ConflictError, match="leads to reviews:2 already"):
        move(lab.store, 2, 2)
    with pytest.raises(StaleGenerationError, match="was never moved"):
        move(lab.store, 1, 3, alias="staging")
    with pytest.raises(UsageError, match="needs a reason"):
        move_alias(lab.store, "reviews", "production", 1, seen=2, actor="ben", reason=" ")


def test_rolling_back_goes_to_what_was_promoted_before_and_not_back_and_forth(lab: Lab) -> None:
    for number, content in enumerate("abc"):
        register(lab, content)
        move(lab.store, number + 1, number)
    for generation, expected in ((3, 2), (4, 1)):
        found = roll_back_alias(
            lab.store, "reviews", "production", seen=generation, actor="ben", reason="wrong answers"
        )
        assert (found.alias.number, found.from_version) == (expected, expected + 1)
    with pytest.raises(ConflictError, match="nothing to go back to"):
        roll_back_alias(lab.store, "reviews", "production", seen=5, actor="ben", reason="again")
    told = [(event.kind, event.from_version, event.version) for event in find_events(lab.store, "reviews")]
    assert told[-2:] == [("rolled_back", 3, 2), ("rolled_back", 2, 1)]


def test_rolling_back_goes_past_what_was_retired_and_says_when_nothing_is_left(lab: Lab) -> None:
    for number, content in enumerate("abcd"):
        register(lab, content)
        move(lab.store, number + 1, number)
    retire_version(lab.store, "reviews", 3, actor="ben", reason="wrong labels")
    retire_version(lab.store, "reviews", 2, actor="ben", reason="wrong labels")
    found = roll_back_alias(lab.store, "reviews", "production", seen=4, actor="ben", reason="wrong answers")
    assert (found.alias.number, found.from_version) == (1, 4)
    with pytest.raises(ConflictError, match="no version that may be used stands before"):
        roll_back_alias(lab.store, "reviews", "production", seen=5, actor="ben", reason="again")
    move(lab.store, 4, 5)
    assert roll_back_alias(lab.store, "reviews", "production", seen=6, actor="ben", reason="no").alias.number == 1
    with pytest.raises(UsageError, match="needs a reason"):
        retire_version(lab.store, "reviews", 4, actor="ben", reason=" ")


def test_events_of_models_can_be_neither_changed_nor_removed(lab: Lab) -> None:
    register(lab)
    for change in (update(model_events).values(actor="nobody"), delete(model_events)):
        with (
            pytest.raises((DBAPIError, StorageError), match="model_events is append-only"),
            writing(lab.store.engine) as connection,
        ):
            connection.execute(change)


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "../x", "A", "é", "a b", "a@b", "a:1", "a\n", ".v1", "a" * 64])
def test_names_that_would_lead_elsewhere_are_refused(lab: Lab, name: str) -> None:
    for require in (require_model_name, require_alias):
        with pytest.raises(UsageError):
            require(name)
    with pytest.raises(UsageError):
        register(lab, name=name)


@pytest.mark.parametrize("alias", ["latest", "v1", "12"])
def test_aliases_that_versions_tell_themselves_cannot_be_moved(alias: str) -> None:
    with pytest.raises(UsageError, match="no alias that can be moved"):
        require_alias(alias)


def test_other_references_name_runs() -> None:
    for text in ("latest", "reviews", "a2f2a389", "my run_20260101_000000", "a@", ":1", "a:b", "a@b@c", "x/y:1"):
        assert parse_reference(text) is None


def _move_in_process(url: str, number: int, barrier: multiprocessing.synchronize.Barrier, told: object) -> None:
    store = open_store(url)
    try:
        barrier.wait()
        told.put((number, move(store, number, 0, f"process {number}")))  # type: ignore[attr-defined]
    except StaleGenerationError as error:
        told.put((number, error.message))  # type: ignore[attr-defined]
    finally:
        store.close()


def test_of_two_processes_that_promote_one_wins_and_the_other_is_told_who(lab: Lab) -> None:
    register(lab, "a")
    register(lab, "b")
    context = multiprocessing.get_context("spawn")
    barrier, told = context.Barrier(2), context.Queue()
    url = lab.store.engine.url.render_as_string(hide_password=False)
    both = [context.Process(target=_move_in_process, args=(url, number, barrier, told)) for number in (1, 2)]
    for process in both:
        process.start()
    answers = dict(told.get(timeout=120) for _ in both)
    for process in both:
        process.join()
    (winner,) = (number for number, answer in answers.items() if answer == 1)
    assert f"process {winner} let it lead to reviews:{winner}" in answers[3 - winner]
    assert find_model(lab.store, "reviews").aliases[0].number == winner


def test_of_many_threads_that_promote_one_wins_each_generation(lab: Lab) -> None:
    register(lab, "a")
    register(lab, "b")

    def race(seen: int) -> int:
        def attempt(actor: str) -> int:
            try:
                return move(lab.store, 1 + seen % 2, seen, actor)
            except StaleGenerationError:
                return 0

        with ThreadPoolExecutor(4) as pool:
            return sum(generation > 0 for generation in pool.map(attempt, "abcd"))

    assert [race(seen) for seen in range(5)] == [1] * 5
    moves = [event for event in find_events(lab.store, "reviews") if event.kind == "promoted"]
    assert [event.generation for event in moves] == [1, 2, 3, 4, 5]
