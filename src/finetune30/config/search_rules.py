"""What the fields of a search mean together, and with the keys that it varies."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from finetune30.config.fields import accepted_types, describe_allowed, field_schemas, suggest_key
from finetune30.config.loading import show_value
from finetune30.config.schema import ExperimentConfig
from finetune30.config.search import LEAST_FINISHED, MOST_TRIALS, Parameter, SearchConfig

#: Where the fault is, below `search`, what is wrong, and a hint.
Problem = tuple[tuple[str, ...], str, str]

#: Keys below `training` that no trial may have of its own: they say where and on what it is carried out, how it is
#: judged, or are varied by `ft30 seeds`. A trial that evaluates more often chooses its weights by the evaluation rows
#: more often; what is fitted on these rows after the training moves no metric, and would be fitted on what chose it.
_SHARED = frozenset(
    f"training.{key}"
    for key in (
        *("seed", "output_dir", "device", "processes", "deterministic", "start_adapter"),
        *("metric_for_best_model", "greater_is_better", "logging_steps", "save_steps", "save_total_limit"),
        *("load_best_model_at_end", "eval_strategy", "eval_steps"),
        *("early_stopping_patience", "early_stopping_threshold"),
        *("threshold_tuning", "temperature_scaling", "abstention_risk"),
    )
)
#: Keys of other sections that may be varied; the others say what the rows and the base model are.
_FURTHER = frozenset({"model.dropout", "model.quantization", "data.max_length"})
#: Keys that say how long a training is.
_LENGTHS = frozenset({"training.num_train_epochs", "training.max_steps"})
RANGE_OR_VALUES = "for example {values: [4, 8]} or {low: 4, high: 16}"
_TRIAL_KEYS = "lora.…, training.… but for what all trials share, model.dropout, model.quantization, data.max_length"


def may_vary(key: str) -> bool:
    """Tell whether a key of a configuration may differ between the trials of a search."""
    return key in _FURTHER or key.startswith("lora.") or (key.startswith("training.") and key not in _SHARED)


def is_whole(key: str) -> bool:
    """Tell whether a key holds whole numbers."""
    return "integer" in accepted_types(field_schemas()[key]) and not is_fraction(key)


def is_fraction(key: str) -> bool:
    """Tell whether a key holds numbers that need not be whole."""
    return "number" in accepted_types(field_schemas()[key])


def find_parameter_faults(search: SearchConfig) -> Iterator[Problem]:
    """Return everything that is wrong with a search whose fields are right one by one."""
    if search.sampler != "grid" and search.trials is None and search.limits.hours is None:
        yield ("trials",), f"is needed with sampler {search.sampler}", "or give limits.hours, or both"
    if search.confirm.seeds == 1:
        yield ("confirm", "seeds"), "1 tells nothing of seeds", "give 2 or more, or 0 for no end"
    yield from _find_stop_faults(search)
    above: dict[str, Parameter] = {}
    for key, parameter in search.parameters.items():
        found = list(_find_faults(key, parameter, above, search.sampler == "grid"))
        yield from ((("parameters", *path), problem, hint) for path, problem, hint in found)
        if parameter.times in search.parameters and parameter.times not in above and parameter.times != key:
            hint = f"move it below {parameter.times}"
            yield ("parameters", key, "times"), f"{show_value(parameter.times)} is varied further down", hint
        if may_vary(key) and key in field_schemas():
            above[key] = parameter
    if search.sampler == "grid" and (count := _grid_size(search)) > 100 * MOST_TRIALS:
        yield ("parameters",), f"make a grid of {count:,} combinations", "give fewer values, or sampler: random"


def _find_stop_faults(search: SearchConfig) -> Iterator[Problem]:
    if sorted(set(search.stop.at)) != search.stop.at:
        yield ("stop", "at"), f"{show_value(search.stop.at)} is no rising list", "for example at: [0.33, 0.67]"
    if search.stop.kind == "none":
        return
    for key in sorted(_LENGTHS & search.parameters.keys()):
        yield ("parameters", key), "cannot be varied while stop is on: rungs are shares of one length", "or leave stop"
    least = search.window + LEAST_FINISHED
    if search.trials is None or search.trials < least:
        hint = f"the first {least - 1} of them are never stopped: trials {least} or more, or a smaller window"
        yield ("trials",), f"{show_value(search.trials)} leaves nothing to stop", hint


def _find_faults(key: str, parameter: Parameter, above: dict[str, Parameter], is_grid: bool) -> Iterator[Problem]:
    if key not in field_schemas():
        yield (key,), "unknown key", suggest_key(tuple(key.split(".")))
        return
    if not may_vary(key):
        yield (key,), "cannot be varied: it is the same for all trials", f"what can be: {_TRIAL_KEYS}"
        return
    yield from _find_condition_faults(key, parameter, above)
    if parameter.times is not None:
        yield from _find_tie_faults(key, parameter)
    elif parameter.values is not None:
        if _has_range(parameter):
            yield (key,), "has values and a range", "give one of them"
        for value in parameter.values:
            if not accepts(key, value):
                allowed = describe_allowed(field_schemas()[key])
                yield (key, "values"), f"{show_value(value)} is not allowed, must be {allowed}", ""
        if len({repr(value) for value in parameter.values}) < len(parameter.values):
            yield (key, "values"), "holds a value twice", "give each once"
    else:
        yield from _find_range_faults(key, parameter, is_grid)


def _find_condition_faults(key: str, parameter: Parameter, above: dict[str, Parameter]) -> Iterator[Problem]:
    for other, wanted in (parameter.when or {}).items():
        if other not in above:
            yield (key, "when", other), "is no parameter that stands above this one", "vary it too, further up"
            continue
        choices = above[other].values
        for value in wanted:
            is_one = accepts(other, value) if choices is None or above[other].times else value in choices
            if not is_one:
                yield (key, "when", other), f"{show_value(value)} is none of its values", ""


def _find_tie_faults(key: str, parameter: Parameter) -> Iterator[Problem]:
    base = parameter.times or ""
    if parameter.values is None or _has_range(parameter):
        yield (key,), "is tied by times and needs values, its factors", "for example values: [1, 2]"
    if base not in field_schemas() or not (is_whole(base) or is_fraction(base)) or base == key:
        yield (key, "times"), f"{show_value(base)} is no key with a number", "for example times: lora.r"
    if not (is_whole(key) or is_fraction(key)):
        yield (key,), "holds no number and cannot be tied to one", "give values"
    for factor in parameter.values or ():
        if isinstance(factor, bool) or not isinstance(factor, int | float) or factor <= 0:
            yield (key, "values"), f"{show_value(factor)} is no factor, must be a number above 0", ""


def _find_range_faults(key: str, parameter: Parameter, is_grid: bool) -> Iterator[Problem]:
    low, high = parameter.low, parameter.high
    if low is None or high is None:
        yield (key,), "needs values, or low and high", RANGE_OR_VALUES
        return
    if not (is_whole(key) or is_fraction(key)):
        yield (key,), "holds no number, and has no range", "give values"
        return
    if not low < high:
        yield (key, "low"), f"{show_value(low)} is not below high, {show_value(high)}", ""
    if parameter.scale == "log" and low <= 0:
        yield (key, "low"), f"{show_value(low)} has no logarithm", "with scale: log it is above 0"
    for name, bound in (("low", low), ("high", high)):
        if not accepts(key, bound):
            allowed = describe_allowed(field_schemas()[key])
            yield (key, name), f"{show_value(bound)} is not allowed, must be {allowed}", ""
    if is_grid and parameter.points is None:
        yield (key,), "a grid takes values, or points of a range", "for example points: 5"


def _has_range(parameter: Parameter) -> bool:
    range_of = (parameter.low, parameter.high, parameter.points)
    return parameter.scale != "linear" or any(field is not None for field in range_of)


def accepts(key: str, value: Any) -> bool:
    """Tell whether a key may have a value, whatever the other keys have; a number in quotes is a text."""
    types = accepted_types(field_schemas()[key])
    if isinstance(value, bool) and "boolean" not in types:
        return False
    if isinstance(value, str) and "string" not in types:  # times would repeat its digits
        return False
    try:
        _adapter(key).validate_python(value)
    except ValidationError:
        return False
    return True


@cache
def _adapter(key: str) -> TypeAdapter[Any]:
    *sections, leaf = key.split(".")
    owner: Any = ExperimentConfig
    for section in sections:
        owner = owner.model_fields[section].annotation
    field = owner.model_fields[leaf]
    annotated: Any = Annotated[field.annotation, field]
    return TypeAdapter(annotated)


def _grid_size(search: SearchConfig) -> int:
    size = 1
    for parameter in search.parameters.values():
        size *= len(parameter.values) if parameter.values is not None else parameter.points or 1
    return size
