"""Handing the runs of a set in to the workers: the set is written first, and every run has a key of its own."""

from __future__ import annotations

from finetune30 import failpoints
from finetune30.config.loading import validate_tree
from finetune30.service.sets.members import Member, hand_in_member
from finetune30.service.sets.plans import Plan, config_of
from finetune30.service.submitting.submission import Publisher, digest_request
from finetune30.settings import Settings
from finetune30.store import Run, RunStore
from finetune30.store.run_sets import RunSet, record_set, runs_of


def write_set(store: RunStore, plan: Plan, submitted_by: str = "") -> RunSet:
    """Write the set before any of its runs; one that the same plan gave before is returned."""
    failpoints.reach("set.before_row")
    found = record_set(
        store,
        name=plan.config.experiment_name,
        purpose=plan.purpose,
        request_sha256=digest_request(plan.as_request()),
        config=plan.config.as_tree(),
        dataset_digest=plan.dataset_digest,
        plan=plan.entries,
        submitted_by=submitted_by,
    )
    failpoints.reach("set.after_row")
    return found


def hand_in(
    store: RunStore,
    run_set: RunSet,
    settings: Settings,
    explicit: frozenset[str],
    *,
    publisher: Publisher,
    priority: int = 0,
) -> list[Run]:
    """Queue every planned run that is not there yet and return all of them in the order of the plan.

    May be repeated after it was cut off at any point: each run has a key of its own. Raises what `submit` raises.
    """
    config = validate_tree(run_set.config, source=f"the record of set {run_set.id[:8]}")
    known, found = runs_of(store, run_set), []
    for entry in run_set.plan:
        run = known.get(entry["number"])
        if run is None:
            member = Member(config_of(config, entry), explicit, run_set.key_of(entry["number"]), run_set.submitted_by)
            run = hand_in_member(store, member, settings, publisher=publisher, priority=priority)
            failpoints.reach("set.after_run")
        found.append(run)
    return found
