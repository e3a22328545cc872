"""A search in lines: its trials, the best of them, and why it ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from finetune30.values import say_count


def describe_lines(described: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of what `summary.describe_search` returns."""
    spec = described["spec"]
    planned = described["planned"]
    yield (
        f"search {described['id'][:8]} '{described['name']}': {described['status']}, {spec['sampler']}, seed "
        f"{spec['seed']}, {len(described['trials'])} of {'as many' if planned is None else planned} trials, "
        f"{described['hours']:.2f} hours of training"
    )
    if described["reason"]:
        yield described["reason"]
    for trial in described["trials"]:
        yield _describe_trial(trial)
    best = described["best"]
    if best is not None:
        run = (best["run_id"] or "-")[:8]
        yield (
            f"best {described['metric']}: {best['value']:.4f}, trial {best['number']}, run {run}"
            f"{_say_luck(described['end'])}"
        )
    else:
        yield "no trial has a value yet"
    yield from _describe_importance(described["importance"])
    if described["end"] is not None:
        yield from _describe_end(described["end"])


def describe_values(values: Mapping[str, Any]) -> str:
    """Return the values of a trial in a line."""
    told = (f"{key.rpartition('.')[2]} {value:.4g}" if isinstance(value, float) else f"{key.rpartition('.')[2]} {value}"
            for key, value in values.items())  # fmt: skip
    return ", ".join(told) or "the configuration as it is"


def _describe_trial(trial: Mapping[str, Any]) -> str:
    value = f"{trial['value']:.4f}" if trial["value"] is not None else trial["reason"] or trial["run_status"] or ""
    shared = "" if trial["reused_from"] is None else f" (the run of trial {trial['reused_from']})"
    run = (trial["run_id"] or "-")[:8]
    values = describe_values(trial["parameters"])
    return f"{trial['number']:>4}  {trial['state']:<9}  {run:<8}  {value:<8}  {values}{shared}"


def _say_luck(end: Mapping[str, Any] | None) -> str:
    """Return how much better the best of so many equal configurations looks, where it is known."""
    luck = ((end or {}).get("verdict") or {}).get("expected_luck")
    if luck is None:
        return " (the best of many is partly luck)"
    size = f"{100 * luck['size']:.1f} points" if luck["as_points"] else f"{luck['size']:.3g}"
    return f" (of {luck['tried']} equal configurations the best looks {size} better than their mean, by luck)"


def _describe_end(end: Mapping[str, Any]) -> Iterator[str]:
    """Yield the end: what is repeated, what the evaluation rows say, and what the test rows."""
    said = end["verdict"]
    if said is None:
        states = ", ".join(f"{count} {state}" for state, count in sorted(end["runs"].items())) or "none handed in yet"
        yield f"repeats of trial 0 and trial {end['best']} under other seeds: {states}"
        yield from end["waits"].splitlines()
        yield from _describe_tests(end)
        return
    yield from _indent(f"evaluation rows: {said['message']}")
    if luck := said.get("luck"):
        chosen, repeated = luck["chosen"], luck["repeated"]
        yield f"{luck['metric']} of trial {end['best']}: {chosen:.4f} as chosen, {repeated:.4f} repeated"
    if near := said.get("near"):
        yield (
            f"not distinguishable from the best: {len(near['trials'])} of {say_count(near['compared'], 'trials')}; "
            f"the cheapest of "
            f"them is trial {near['cheapest']} ({near['costs'][str(near['cheapest'])][0]:,.0f} trainable parameters)"
        )
    yield from _describe_tests(end)


def _describe_tests(end: Mapping[str, Any]) -> Iterator[str]:
    """Yield what every look at the test rows found, for whichever end, and why there was none for this one."""
    for test in end["tests"]:
        earlier = "" if test["tried"] == end["tried"] else f" (after {say_count(test['tried'], 'trials')})"
        look = f"test rows, look {test['count']}{earlier}"
        if test["result"] is not None:
            yield from _indent(f"{look}: {test['result']['message']}")
        else:
            lacking = "goes on" if test["goes_on"] else "no result"
            yield f"{look}: {lacking if test['error'] is None else test['error']['message']}"
    if end["test_rows"]:
        yield from _indent(f"test rows: {end['test_rows']}")


def _indent(text: str) -> Iterator[str]:
    """Yield the lines of a text, those that follow the first one set in."""
    first, *others = text.splitlines()
    yield first
    yield from (f"  {line}" for line in others)


def _describe_importance(importance: Mapping[str, Any]) -> Iterator[str]:
    """Yield what share of the differences goes with each parameter, beside what chance makes."""
    if not importance:
        return
    shares = (
        f"{key.rpartition('.')[2]} {100 * one['share']:.0f} %{' *' if one['stands_out'] else ''} "
        f"(chance: up to {100 * one['line']:.0f} %)"
        for key, one in sorted(importance.items(), key=lambda item: -item[1]["share"])
    )
    found = any(one["stands_out"] for one in importance.values())
    yield f"differences go with: {', '.join(shares)}{'' if found else '; nothing stands out'}"
