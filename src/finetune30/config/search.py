"""The section `search:` beside a configuration: which keys are varied, how, and for how long.

It is no part of `ExperimentConfig`: a run is one trial of a search, and has nothing of it. What the fields mean
together, and with the configuration that they vary, stands in `search_rules`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, FiniteFloat

from finetune30.config.field_types import Name, Section

Sampler = Literal["grid", "random", "tpe"]
#: More trials than any table of results is read for.
MOST_TRIALS = 1000
MOST_VALUES = 1000
MOST_SEEDS = 20
#: Trials that have to have ended before one is stopped: fewer do not tell what a rung says of the end.
LEAST_FINISHED = 6


class Parameter(Section):
    """The values that one key may have: a list, or a range."""

    values: Annotated[list[Any], Field(min_length=1, max_length=MOST_VALUES)] | None = Field(
        None,
        description="The values to choose from; with times: the factors.",
        json_schema_extra={"allowed": "a list of 1 to 1000 values that the key may have, or null"},
    )
    low: FiniteFloat | None = Field(None, description="Least value of a range.")
    high: FiniteFloat | None = Field(None, description="Greatest value of a range.")
    scale: Literal["linear", "log"] = Field("linear", description="Scale on which a range is drawn from.")
    points: int | None = Field(
        None, ge=2, le=MOST_VALUES, description="Values of a range that a grid takes, evenly spaced on its scale."
    )
    times: Name | None = Field(None, description="Key whose value is multiplied by the chosen factor: tied to it.")
    when: dict[Name, Annotated[list[Any], Field(min_length=1)]] | None = Field(
        None,
        description="Varied only where each of these keys, which stand above this one, has one of its values; "
        "elsewhere the key is as in the configuration.",
        json_schema_extra={"allowed": "keys of the parameters above with lists of their values, or null"},
    )


class SearchLimits(Section):
    """When a search ends before it has made all its trials."""

    hours: FiniteFloat | None = Field(
        None,
        gt=0.0,
        le=100_000.0,
        description="Hours of training, those of all trials added up, repeats at the end not counted; null: no limit.",
    )
    disk_gb: FiniteFloat | None = Field(
        None,
        gt=0.0,
        le=1_000_000.0,
        description="Gigabytes (10^9 bytes) that the folders of ended trials may take, repeats at the end not counted; "
        "null: no limit.",
    )
    failed_in_a_row: int = Field(
        3, ge=1, le=MOST_TRIALS, description="Trials, by their numbers, that fail one after the other and end it."
    )


class SearchConfirm(Section):
    """What is made of the best trial at the end, against trial 0."""

    seeds: int = Field(
        3,
        ge=0,
        le=MOST_SEEDS,
        description="Seeds, other than that of the trials, under which the best trial and trial 0 are each trained "
        "again; from 2 on, 0: no end.",
    )
    least_gain: FiniteFloat = Field(
        0.01,
        gt=0.0,
        lt=1.0,
        description="Gain that is worth a change: of the share of right rows, or of a loss as a share of trial 0's.",
    )


class SearchStop(Section):
    """Which trials are stopped before their end."""

    kind: Literal["none", "clearly_worse"] = Field(
        "none",
        description="Trials that are stopped on their way: none, or those that are clearly worse than the best, as far "
        "as the trials before tell what a value on the way says of the end.",
    )
    at: Annotated[list[Annotated[FiniteFloat, Field(gt=0.0, lt=1.0)]], Field(min_length=1, max_length=5)] = Field(
        [0.33],
        description="Shares of the steps: at the first evaluation from each on a trial pauses and is decided on.",
        json_schema_extra={"allowed": "a list of 1 to 5 numbers between 0 and 1"},
    )
    risk: FiniteFloat = Field(
        0.05,
        gt=0.0,
        lt=0.5,
        description="Chance, over the whole search, that the trial that would have been the best is stopped.",
    )


class SearchConfig(Section):
    """A search over configurations; trial 0 is the configuration as it stands."""

    seed: int = Field(42, ge=0, le=2**32 - 1, description="Seed of the suggestions; not of the trainings.")
    trials: int | None = Field(
        None,
        ge=1,
        le=MOST_TRIALS,
        description="Trials in all, trial 0 and failed ones counted; null: all of a grid, else until limits.hours.",
    )
    sampler: Sampler = Field(
        "random",
        description="Where suggestions come from: grid (every combination), random, or tpe (Optuna's; needs: pip "
        "install 'finetune30[search]').",
    )
    window: int = Field(
        8,
        ge=1,
        le=MOST_TRIALS,
        description="Trial n is suggested once the trials up to n - window have ended, and from what these say: so "
        "many are open at a time at most, and the trials are the same for any number of workers.",
    )
    metric: Name | None = Field(
        None, max_length=100, description="Metric by which trials are told apart; null: the score of the problem."
    )
    greater_is_better: bool | None = Field(None, description="Direction of that metric; null: told from its name.")
    parameters: Annotated[dict[Name, Parameter], Field(min_length=1, max_length=50)] = Field(
        description="What is varied, by dotted key."
    )
    keep: Literal["all", "best"] = Field(
        "all",
        description="Models that stay: all, or that of the best trial so far and what is a version of a model; records "
        "and results of all stay.",
    )
    confirm: SearchConfirm = Field(SearchConfirm(), description="How the best is judged at the end.")
    limits: SearchLimits = Field(SearchLimits(), description="When it ends early.")
    stop: SearchStop = Field(SearchStop(), description="Which trials are stopped on their way.")

    def as_tree(self) -> dict[str, Any]:
        """Return plain dicts, lists and scalars in field order.

        `stop` only where it stops something: releases that do not know it go on with all other searches.
        """
        return self.model_dump(mode="json", exclude={"stop"} if self.stop.kind == "none" else None)
