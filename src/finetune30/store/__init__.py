"""Runs on record: tables, migrations, states, queries and the run folder. Knows no torch, no queue, no web."""

from finetune30.store.lease import LeaseKeeper
from finetune30.store.records import (
    BestRun,
    Change,
    Claim,
    Lease,
    Run,
    RunEvent,
    RunFilter,
    RunPage,
    RunStats,
    RunStatus,
)
from finetune30.store.run_folder import AttemptFolder, Published, RunFolder
from finetune30.store.run_store import RunStore, open_store

__all__ = [
    "AttemptFolder",
    "BestRun",
    "Change",
    "Claim",
    "Lease",
    "LeaseKeeper",
    "Published",
    "Run",
    "RunEvent",
    "RunFilter",
    "RunFolder",
    "RunPage",
    "RunStats",
    "RunStatus",
    "RunStore",
    "open_store",
]
