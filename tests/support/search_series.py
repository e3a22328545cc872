"""One search under misfortunes: what is handed in, what has to come out, and what came out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from finetune30.config import ExperimentConfig
from finetune30.config.search_loading import validate_search
from finetune30.errors import DataError
from finetune30.service.searches.repeats import runs_of_end
from finetune30.service.searches.rungs import level_of_one
from finetune30.service.searches.space import Space
from finetune30.service.searches.standing import load_standing
from finetune30.service.searches.suggesting import Past, count_visible, suggest
from finetune30.service.searches.verifying import verify_search
from finetune30.service.statistics.prediction import compare_with_best
from finetune30.store import Run, RunStore
from finetune30.store.search_ends import load_end
from finetune30.store.searches import load_search, runs_of_trials
from support.drill import score_of, score_on_the_way

Json = dict[str, Any]
_TRAINING = {"max_steps": 5, "eval_strategy": "steps", "eval_steps": 1, "learning_rate": 1e-4}
_LEAST_FINISHED = 6
#: Repeats of trial 0, and of the best.
SEEDS = 2


@dataclass(frozen=True)
class Tried:
    """What a trial tried, and what came of it: `stopped_at` the share of its steps, `value` none then."""

    parameters: Json
    state: str
    value: float | None
    stopped_at: float | None


@dataclass
class Series:
    """What came of a search: its trials, the verdict on the best, and what should not be."""

    trials: list[Tried]
    verdict: Mapping[str, Any] | None
    decisions: int
    breaches: list[str] = field(default_factory=list)

    def summary(self) -> str:
        states = ", ".join(f"{count} {state}" for state, count in Counter(one.state for one in self.trials).items())
        said = "not judged" if self.verdict is None else self.verdict["message"].splitlines()[0]
        return f"{len(self.trials)} trials ({states}), {self.decisions} decisions at rungs; {said}"


def body_of(trials: int) -> Json:
    """Return what is posted to /searches: trials that pause at two rungs, some of which fail, and an end."""
    search = {
        **{"seed": 7, "trials": trials, "window": 5, "sampler": "tpe", "confirm": {"seeds": SEEDS}},
        "parameters": {
            "training.learning_rate": {"low": 1e-5, "high": 2e-3, "scale": "log"},
            "lora.r": {"values": [4, 8, 16, 32]},
        },
        "limits": {"failed_in_a_row": trials},
        "stop": {"kind": "clearly_worse", "at": [0.4, 0.6]},
    }
    config = {"model": {"name": "starter"}, "data": {"dataset_name": "starter"}, "training": _TRAINING}
    return {"experiment_name": "sought", "config": config, "search": search, "priority": 0}


def expect_trials(trials: int) -> list[Tried]:
    """Return what the trials of such a search come to, one after the other and without any queue."""
    spec = validate_search(body_of(trials)["search"])
    config = ExperimentConfig.model_validate({"experiment_name": "sought", "training": _TRAINING})
    space, past, configs, found = Space(config, spec), list[Past](), list[ExperimentConfig](), list[Tried]()
    for number in range(trials):
        labels, values = space.labels_of_base(), dict[str, Any]()
        if number:
            suggested = suggest(space, spec, number, past, greater_is_better=True)
            assert suggested is not None
            labels, values = suggested.labels, space.settle(suggested.labels)
        configs.append(space.apply(values, number))
        try:
            ended = _end_of(configs, found, number, spec.stop.at, level_of_one(spec.stop.risk, trials, 2))
        except DataError:
            ended = "FAILED", None, None
        state, value, stopped_at = ended
        found.append(Tried(values, state, None if state == "STOPPED" else value, stopped_at))
        past.append(Past(number, labels, space.identify(values), _STATES[state], value))
    return found


_STATES: Mapping[str, Any] = {"DONE": "done", "FAILED": "failed", "STOPPED": "stopped"}


def _end_of(
    configs: Sequence[ExperimentConfig], found: Sequence[Tried], number: int, shares: Sequence[float], level: float
) -> tuple[str, float | None, float | None]:
    """Return how a trial ends, its value (of one that is stopped that at the rung), and where it is stopped."""
    own, final = configs[number], score_of(configs[number])
    seen = [configs[one] for one in range(count_visible(number, 5)) if found[one].state == "DONE"]
    for share in shares if len(seen) >= _LEAST_FINISHED else ():
        early, there = [score_on_the_way(one, share) for one in seen], score_on_the_way(own, share)
        compared = compare_with_best(early, [score_of(one) for one in seen], there)
        if compared is not None and compared.is_behind and compared.chance < level:
            return "STOPPED", there, share
    return "DONE", final, None


def load_series(store: RunStore, search_id: str) -> Series:
    """Read what came of a search; what it should not have been is among the breaches."""
    standing, end = load_standing(store, search_id, all_runs=True), load_end(store, search_id)
    trials = [Tried(one.parameters, str(one.state), one.value, one.stopped_at) for one in standing.trials]
    verdict = None if end is None or end.judged_at is None else end.verdict
    verified = verify_search(standing)
    breaches = [f"trial {one['number']} is not what is suggested" for one in verified["differ"]]
    breaches += [f"trial {one['number']} was decided on otherwise" for one in verified.get("decisions_differ", [])]
    numbers = {one.number for one in standing.trials if one.reused_from is None}
    if doubled := len(standing.runs) - len({run.id for run in standing.runs.values()}):
        breaches.append(f"{doubled} trials share a run")
    if missing := numbers - standing.runs.keys():
        breaches.append(f"trials {sorted(missing)} have no run")
    return Series(trials, verdict, len(standing.rungs), breaches)


def runs_of_search(store: RunStore, search_id: str) -> list[Run]:
    """Return the runs of all trials, and of the repeats at the end."""
    search, end = load_search(store, search_id), load_end(store, search_id)
    trials = runs_of_trials(store, search, range(1000))
    return [*trials.values(), *([] if end is None else runs_of_end(store, end))]


def find_differences(expected: Sequence[Tried], found: Sequence[Tried]) -> list[str]:
    """Return how the trials of a search differ from what they have to be."""
    said = [] if len(expected) == len(found) else [f"{len(found)} trials, not {len(expected)}"]
    pairs = enumerate(zip(expected, found, strict=False))
    return said + [f"trial {number} is {its}, not {wanted}" for number, (wanted, its) in pairs if its != wanted]
