"""What became of the runs of a fleet: lost, doubled, unreadable, stuck, failed, or trained to another result."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text

from finetune30.store import Run, RunFolder, RunStatus
from support.event_checker import check, load_recorded
from support.exactness import fingerprint
from support.fleet import Fleet
from support.fleet_chaos import FleetChaos

#: What a training that was moved between hosts has in common with one that nobody disturbed.
EQUAL = ("tensors", "digests", "history", "predictions")
_OPEN = ("QUEUED", "RUNNING")


@dataclass
class Verdict:
    """Every breach by its kind, and how the runs ended."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    attempts: int = 0
    moved: int = 0
    trainings: int = 0

    @property
    def breaches(self) -> list[str]:
        return [f"{kind}: {what}" for kind, found in self.by_kind().items() for what in found]

    def by_kind(self) -> dict[str, list[str]]:
        """Return the breaches of each kind."""
        kinds = ("lost", "doubled", "unreadable", "stuck", "failed", "differing")
        return {kind: getattr(self, kind) for kind in kinds}


def judge(fleet: Fleet, chaos: FleetChaos, undisturbed: Mapping[int, dict[str, Any]]) -> Verdict:
    """Judge every run; `undisturbed` holds the fingerprint of a quiet training by its number of processes."""
    url, verdict = fleet.settings.resolved_database_url, Verdict()
    accepted = set(chaos.accepted.values())
    told = check(url, fleet.results, accepted)
    verdict.attempts = told.attempts
    for breach in told.lost:
        (verdict.stuck if breach.endswith(_OPEN) else verdict.lost).append(breach)
    verdict.lost += chaos.unanswered
    verdict.doubled += [*told.recorded_twice, *told.stale_writes, *told.illegal, *chaos.doubled_keys]
    recorded = load_recorded(url)
    unknown = recorded - accepted - chaos.recorded_before
    verdict.doubled += [f"{run_id} is recorded, but nobody was told" for run_id in unknown]
    verdict.unreadable += told.damaged
    runs = [fleet.store.get(run_id) for run_id in sorted(recorded)]
    verdict.doubled += _find_doubled_folders(fleet, runs) + _find_doubled_audit(fleet, chaos)
    for run in runs:
        if run.status is RunStatus.FAILED:
            verdict.failed.append(f"{run.id}: {run.error}")
        if run.status is RunStatus.SUCCEEDED:
            verdict.moved += len(set(fleet.claims(run.id))) > 1
            _judge_result(verdict, fleet, run, undisturbed)
    return verdict


def _judge_result(verdict: Verdict, fleet: Fleet, run: Run, undisturbed: Mapping[int, dict[str, Any]]) -> None:
    folder = fleet.results / run.folder
    verdict.unreadable += [f"{run.id}: {fault}" for fault in RunFolder(folder).verify()]
    if run.name.startswith("drill"):
        return
    verdict.trainings += 1
    try:
        found = fingerprint(folder, with_events=False)
    except (OSError, ValueError, KeyError) as error:
        verdict.unreadable.append(f"{run.id}: {error!r}")
        return
    expected = undisturbed[run.places]
    verdict.differing += [f"{run.id}: {key} differ" for key in EQUAL if found[key] != expected[key]]


def _find_doubled_folders(fleet: Fleet, runs: list[Run]) -> list[str]:
    """Return the runs of which more than one folder has a result, and folders of no run."""
    known = {run.folder for run in runs}
    folders = [path for path in fleet.results.iterdir() if path.is_dir()]
    published = Counter(
        json.loads(path.read_text())["run_id"] for folder in folders if (path := folder / "manifest.json").is_file()
    )
    doubled = [f"{run_id} has {count} published folders" for run_id, count in published.items() if count > 1]
    return doubled + [f"{folder.name} belongs to no run" for folder in folders if folder.name not in known]


def _find_doubled_audit(fleet: Fleet, chaos: FleetChaos) -> list[str]:
    """Return submissions with more entries in the audit trail than requests, or with none at all.

    An entry names its run once it is complete; of an API that was killed before, it keeps the outcome 102.
    """
    requests = sum((client.requests for client in chaos.clients), Counter[str]())
    question = text("SELECT action, target, outcome FROM audit ORDER BY number")
    with fleet.store.engine.connect() as connection:
        entries = [(row.action, row.target, row.outcome) for row in connection.execute(question)]
    entries = entries[chaos.audited_before :]
    of_run = Counter(target for _, target, outcome in entries if outcome == 202)
    faults = [
        f"{key}: {of_run[run_id]} entries of {requests[key]} requests"
        for key, run_id in chaos.accepted.items()
        if of_run[run_id] > requests[key]
    ]
    if len(entries) > requests.total():
        faults.append(f"{len(entries)} entries of {requests.total()} requests in the audit trail")
    if missing := [key for key, run_id in chaos.accepted.items() if not of_run[run_id]]:
        incomplete = sum(outcome == 102 for _, _, outcome in entries)
        if len(missing) > incomplete:
            faults.append(f"no entry in the audit trail: {missing}")
    return faults


def table(seed: int, seconds: float, chaos: FleetChaos, verdict: Verdict) -> str:
    """Return what happened and what came of it, as a Markdown table."""
    rows = [
        (f"runs accepted over the API (seed {seed})", len(chaos.accepted)),
        ("of these real trainings", verdict.trainings),
        ("attempts", verdict.attempts),
        ("runs that ended on another host than they began on", verdict.moved),
        ("minutes", f"{seconds / 60:.0f}"),
        *chaos.done.most_common(),
        *((f"**{kind}**", len(found)) for kind, found in verdict.by_kind().items()),
    ]
    return "\n".join(["| | |", "|---|---:|", *(f"| {name} | {value} |" for name, value in rows)])
