"""Every command of `ft30`: its name, where its code is, its group in the help and what it does.

The code behind a command is imported only when that command runs, so `ft30 --help` stays fast and never sees torch.
A new command is one line here.
"""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """`target` is "module:attribute" of a click command; a hidden one is not for people."""

    target: str
    group: str
    summary: str
    hidden: bool = False


#: Groups in the order in which the help shows them.
GROUPS = ("Train", "Runs", "Models", "Data", "Services", "Setup")

COMMANDS: dict[str, Entry] = {
    "train": Entry("finetune30.cli.train:command", "Train", "Train a model and record the run."),
    "predict": Entry("finetune30.cli.predict:command", "Train", "Ask a finished run's model."),
    "chat": Entry("finetune30.cli.chat:command", "Train", "Talk with a finished run's language model."),
    "export": Entry("finetune30.cli.export:command", "Train", "Take a finished run's model to another machine."),
    "push": Entry("finetune30.cli.push:command", "Train", "Send a finished run's model to the hub."),
    "resume": Entry("finetune30.cli.resume:command", "Train", "Go on with a killed, cancelled or failed run."),
    "seeds": Entry("finetune30.cli.seeds:command", "Train", "Train under several seeds on the same rows."),
    "crossval": Entry("finetune30.cli.crossval:command", "Train", "Train on several folds of the rows."),
    "curve": Entry("finetune30.cli.curve:command", "Train", "Say whether more training rows would help."),
    "search": Entry("finetune30.cli.search:command", "Train", "Search the best configuration, trial by trial."),
    "sets": Entry("finetune30.cli.sets:command", "Runs", "List, show and compare sets of runs: seeds, folds, curves."),
    "test": Entry("finetune30.cli.test:command", "Train", "Open the rows kept for a finished run's test."),
    "replay": Entry("finetune30.cli.replay:command", "Train", "Repeat a finished run and compare it bit for bit."),
    "runs": Entry("finetune30.cli.runs:command", "Runs", "List, show, follow, verify, edit, cancel and delete runs."),
    "models": Entry("finetune30.cli.models:command", "Models", "Name finished models, promote and find them."),
    "compare": Entry("finetune30.cli.compare:command", "Runs", "Say whether runs differ by more than chance."),
    "mirror": Entry("finetune30.cli.mirror:mirror", "Runs", "Carry runs to TensorBoard, MLflow or W&B."),
    "submit": Entry("finetune30.cli.submit:command", "Train", "Hand a run over to the workers."),
    "cancel": Entry("finetune30.cli.run_changes:cancel", "Train", "Stop runs that wait or train."),
    "retry": Entry("finetune30.cli.retry:command", "Train", "Queue a failed or cancelled run again."),
    "up": Entry("finetune30.cli.up:command", "Services", "Run Redis, worker, API and page in one terminal."),
    "status": Entry("finetune30.cli.status:command", "Services", "Say what is up, what waits and what runs."),
    "services": Entry("finetune30.cli.services:command", "Services", "Bring up Redis."),
    "worker": Entry("finetune30.cli.worker:command", "Services", "Carry queued runs out."),
    "mirrors": Entry("finetune30.cli.mirror:follow", "Services", "Carry runs to trackers as they go on."),
    "attempt": Entry("finetune30.cli.attempt:command", "Services", "Carry out one claimed run.", hidden=True),
    "member": Entry("finetune30.cli.member:command", "Services", "Train together with others.", hidden=True),
    "read": Entry("finetune30.cli.read:command", "Services", "Read data for the API.", hidden=True),
    "answer": Entry("finetune30.cli.answer:command", "Services", "Hold a model for the API.", hidden=True),
    "data": Entry("finetune30.cli.data:command", "Data", "Analyse, validate, clean and version data."),
    "serve": Entry("finetune30.cli.serve:command", "Services", "Serve models by name."),
    "api": Entry("finetune30.cli.api:command", "Services", "Serve the REST API."),
    "api-process": Entry("finetune30.cli.api_process:command", "Services", "Answer for the API.", hidden=True),
    "keys": Entry("finetune30.cli.keys:command", "Services", "Make, list and revoke keys of the API."),
    "audit": Entry("finetune30.cli.keys:audit", "Services", "List what was changed through the API."),
    "ui": Entry("finetune30.cli.ui:command", "Services", "Serve the page on localhost:8501."),
    "config": Entry("finetune30.cli.config:command", "Setup", "Show, check and explain configurations."),
}
