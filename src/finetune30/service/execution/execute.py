"""Carrying one run out: from the claimed row to the published result, or to a recorded reason why not.

Synchronous and queued training both call `execute`. Everything is written under the attempt's own folder; only
publishing, and the guarded row change after it, makes a result visible.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from finetune30 import failpoints
from finetune30.config.loading import config_digest, dump_config, validate_tree
from finetune30.config.recording import record_tree
from finetune30.errors import (
    CancelledError,
    NotFoundError,
)
from finetune30.files import disk_errors, load_json, save_json_atomic
from finetune30.service.execution.doubts import explain_doubts
from finetune30.service.execution.ends import end_attempt
from finetune30.service.execution.exactness import build_identity, judge_of_plans
from finetune30.service.execution.expected_time import ExpectedTime
from finetune30.service.execution.experiment import (
    Experiment,
    Inputs,
    StandIns,
    build_experiment,
    describe_environment,
    load_inputs,
)
from finetune30.service.execution.group import Group
from finetune30.service.execution.pausing import Pause
from finetune30.service.execution.progress import FetchingReport, ProgressMeter
from finetune30.service.execution.publication import stage_result
from finetune30.service.execution.replay_verdict import Result, judge_replay
from finetune30.service.execution.row_ledger import check_consumption, record_data
from finetune30.service.execution.run_log import Console, RunLog
from finetune30.service.execution.token_ledger import check_supervised
from finetune30.service.execution.warm_start import load_start_adapter
from finetune30.settings import Settings
from finetune30.store.lease import LeaseKeeper
from finetune30.store.records import Claim, Run, RunStatus
from finetune30.store.run_folder import AttemptFolder, Published, RunFolder
from finetune30.store.run_store import RunStore

if TYPE_CHECKING:
    from finetune30.training.checkpoints import Checkpoint, Checkpoints
    from finetune30.training.progress import Progress

_T = TypeVar("_T")
StopReason = Callable[[], str | None]
#: What an attempt does between opening its folder and recording success; anything but training is a drill of the tests.
Work = Callable[["Execution", AttemptFolder, LeaseKeeper, RunLog], Published]


@dataclass(frozen=True)
class Execution:
    """The tools of one attempt."""

    store: RunStore
    claim: Claim
    run: Run
    folder: RunFolder
    settings: Settings
    explicit: frozenset[str]
    console: Console | None
    stop_reason: StopReason
    work: Work | None = None
    group: Group = field(default_factory=Group)

    @property
    def precision_before(self) -> str | None:
        """What `precision: auto` was for the attempts before, or for the run that this one repeats; None: neither."""
        replay_of = (load_json(self.folder.origin) or {}).get("replay_of")
        if self.run.precision is not None or replay_of is None:
            return self.run.precision
        try:
            return self.store.get(replay_of).precision
        except NotFoundError:  # the verdict says that it is gone
            return None


def execute(execution: Execution) -> Published:
    """Carry the run out and return what was published; the row ends in the state that tells the truth.

    Raises the Finetune30Error that ended the run (CancelledError when it was stopped), after recording it.
    """
    store, claim, settings = execution.store, execution.claim, execution.settings
    attempt = execution.folder.open_attempt(claim.attempt)
    keeper = LeaseKeeper(
        store, claim, lease_seconds=settings.lease_seconds, heartbeat_seconds=settings.heartbeat_seconds
    )
    with RunLog(attempt.logs, attempt.history, console=execution.console) as log:
        work = execution.work or train_and_publish
        try:
            with keeper:
                adopted = attempt.adopt()
                trains = adopted is None and work is train_and_publish
                execution.group.tell(
                    execution.run,
                    execution.explicit,
                    settings,
                    precision_before=execution.precision_before,
                    trains=trains,
                )
                published = adopted or work(execution, attempt, keeper, log)
            failpoints.reach("publish.before_row")
            ended = _insist(
                execution, keeper, lambda: store.succeed(claim, published.metrics, published.manifest_sha256)
            )
            failpoints.reach("finish.after_row")
        except BaseException as error:
            told = end_attempt(execution, error, log)
            if told is error:
                raise
            raise told from error
        if ended is RunStatus.CANCELLED:
            log.to_file("CANCELLED: asked for while the result was published")
            raise CancelledError(
                "cancelled while the result was published",
                f"take the result up with: ft30 resume {execution.run.id[:8]}",
            )
        log.line(f"SUCCEEDED: {execution.folder.path}")
    execution.folder.prune()
    return published


def train_and_publish(execution: Execution, attempt: AttemptFolder, keeper: LeaseKeeper, log: RunLog) -> Published:
    """Prepare the data, train, and publish the tested result."""
    config = validate_tree(execution.run.config, source=f"the record of run {execution.run.id[:8]}")
    log.line(f"run {execution.run.id} '{execution.run.name}', attempt {attempt.number}")
    before = _stand_ins_of(execution.run)
    fetching = FetchingReport(keeper, execution.console, lambda: _stop_reason(execution, keeper), before.as_dict())
    data_folder = execution.settings.data_folder
    inputs = load_inputs(
        config, execution.explicit, log.line, data_folder, fetching, precision_before=execution.precision_before
    )
    inputs = _remember_stand_ins(inputs, before, keeper)
    environment = describe_environment(inputs)
    log.to_file(f"versions: {environment['versions']}, threads {environment['threads']}, {environment['device_name']}")
    experiment = build_experiment(inputs, log.line)
    inputs = experiment.inputs
    environment = experiment.complete(environment)
    # Before anything of the run is rewritten: what is refused here must find the record as it was.
    checkpoints, start = _find_start(execution, attempt, experiment, environment, log)
    attempt.reveal("config.yaml", dump_config(inputs.config, _config_header(execution, inputs)).encode())
    record_data(experiment.inputs.data, attempt, execution.store, execution.settings)
    _insist(execution, keeper, lambda: execution.store.describe(execution.claim, **_described(inputs)))
    meter = ProgressMeter(inputs.placement.device, inputs.stand_ins.as_dict())
    hooks = _Hooks(execution, keeper, log, meter, Pause(execution.run.pause_at, attempt.history))
    from finetune30.training.loop import train

    try:
        result = train(
            experiment.engine,
            experiment.train_split,
            experiment.evaluation_split,
            inputs.config.training,
            experiment.problem,
            hooks,
            checkpoints,
            start,
        )
    finally:
        if execution.console:
            execution.console.close()
    check_consumption(experiment.train_split, experiment.evaluation_split, result.progress, result.evaluated_rows)
    check_supervised(experiment.token_ledger, result.progress, result.metrics)
    failpoints.reach("result.before_staging")
    doubts = [*experiment.doubts, *explain_doubts(result.doubts, attempt.history, inputs.config.training)]
    for doubt in doubts:
        log.line("\n".join([f"WARNING: {doubt.words.en}", *(f"  to try: {advice.en}" for advice in doubt.advice)]))
    origin = load_json(execution.folder.origin)
    with disk_errors("cannot write the result"):
        facts = stage_result(attempt.outbox, execution.run, experiment, result, doubts, environment, origin, log.line)
        if replay_of := (origin or {}).get("replay_of"):
            _judge_replay(execution, attempt, facts, replay_of, log)
    failpoints.reach("result.before_publishing")
    return attempt.publish(facts)


def _insist(execution: Execution, keeper: LeaseKeeper, change: Callable[[], _T]) -> _T:
    """Make a change of the row. That of a queued run waits for a database that is away; at a terminal a person does."""
    return keeper.insist(change) if execution.run.kind == "queued" else change()


def _judge_replay(
    execution: Execution, attempt: AttemptFolder, facts: dict[str, Any], replay_of: str, log: RunLog
) -> None:
    """Compare what was staged with the run that it repeats, and stage the verdict beside it."""
    outbox = attempt.outbox
    repeated = Result(
        facts,
        load_json(outbox / "metrics.json"),
        outbox / "artifacts" / "final_model",
        attempt.history,
        outbox / "predictions.parquet",
    )
    report = judge_replay(execution.store, execution.folder.path.parent, replay_of, repeated)
    save_json_atomic(outbox / execution.folder.replay.name, report)
    verdict = {True: "identical", False: "NOT identical", None: f"not compared: {report.get('fault')}"}
    log.line(f"replay of {replay_of[:8]}: {verdict[report['identical']]}")


def _stand_ins_of(run: Run) -> StandIns:
    """Return what stood in for the attempts before, as the row says."""
    return StandIns(run.stand_ins["replaced"], run.stand_ins["replaced_settings"])


def _remember_stand_ins(inputs: Inputs, before: StandIns, keeper: LeaseKeeper) -> Inputs:
    """Let the row say at once what stands in; an attempt after the first knows it from there only.

    The record holds the configuration that could run, in which nothing is left to replace.
    """
    if not inputs.stand_ins.replaced and before.replaced:
        inputs = replace(inputs, stand_ins=before)
    if known := inputs.stand_ins.as_dict():
        keeper.report(known)
    return inputs


def _find_start(
    execution: Execution, attempt: AttemptFolder, experiment: Experiment, environment: dict[str, Any], log: RunLog
) -> tuple[Checkpoints, Checkpoint | None]:
    """Return where checkpoints go and the newest valid one of this run, its history restored up to there."""
    from finetune30.training.checkpoints import Checkpoints
    from finetune30.training.together import share_start

    config, identity = experiment.inputs.config.training, build_identity(experiment, environment)
    earlier = execution.folder.earlier_attempts(attempt.number)
    checkpoints = Checkpoints(
        attempt.checkpoints,
        identity,
        config.save_total_limit,
        [a.checkpoints for a in earlier],
        judge=judge_of_plans(config),
        before_save=log.sync_history,
    )
    start = checkpoints.load_latest(lambda text: log.line(f"WARNING: {text}"))
    if start is not None:
        source = AttemptFolder(execution.folder, int(start.folder.parents[1].name))
        _take_over_history(source, attempt, start.progress["records"], log)
        log.line(f"resuming from step {start.step} of attempt {source.number}")
    else:
        if attempt.number > 1:
            reached = (execution.run.progress or {}).get("step")
            lost = f"; steps that the attempts before had taken: {reached}" if reached else ""
            log.line(f"WARNING: no checkpoint to resume from: training from the start{lost}")
        if config.start_adapter is not None:
            experiment.engine.load_adapter_state(load_start_adapter(config.start_adapter))
            log.line(f"starting from the weights in {config.start_adapter}")
    return checkpoints, share_start(experiment.engine, identity, start)


def _take_over_history(source: AttemptFolder, attempt: AttemptFolder, count: int, log: RunLog) -> None:
    """Begin the history with the records that the checkpoint counts; what came after it is trained again."""
    lines = source.history.read_bytes().splitlines(keepends=True)[:count]
    if len(lines) < count:
        log.line(f"WARNING: {count - len(lines)} records of the history of attempt {source.number} are lost")
    with disk_errors("cannot write history.jsonl"):
        failpoints.reach(failpoints.DISK_WRITE)
        attempt.history.write_bytes(b"".join(lines))


class _Hooks:
    """Connects the loop to log, lease and console."""

    def __init__(
        self, execution: Execution, keeper: LeaseKeeper, log: RunLog, meter: ProgressMeter, pause: Pause
    ) -> None:
        self._execution, self._keeper, self._log, self._meter = execution, keeper, log, meter
        self._expected = ExpectedTime(meter.device, log.line)
        self._pause = pause

    def on_progress(self, progress: Progress) -> None:
        self._pause.follow(progress.global_step, progress.total_steps)
        described = self._meter.describe(progress)
        self._keeper.report(described)
        self._expected.follow(described, progress.seconds)
        if self._execution.console:
            self._execution.console.step(progress)

    def on_record(self, record: dict[str, Any]) -> None:
        self._log.record(record)
        self._pause.record(record)

    def stop_reason(self) -> str | None:
        return _stop_reason(self._execution, self._keeper) or self._pause.reason


def _stop_reason(execution: Execution, keeper: LeaseKeeper) -> str | None:
    if keeper.lost:
        return "lost"
    return "cancelled" if keeper.cancel_requested else execution.stop_reason()


def _config_header(execution: Execution, inputs: Inputs) -> str:
    """Return what stands above the configuration; paths are those of the folder that the run was started in."""
    lines = [f"Resolved configuration of run {execution.run.id}; running it again repeats the run:", ""]
    lines.append(f"  {execution.group.command('train', '--config', shlex.quote(execution.folder.config.as_posix()))}")
    lines += [
        f"The hub was out of reach: '{used}' instead of '{wanted}'."
        for wanted, used in inputs.stand_ins.replaced.items()
    ]
    if hub := inputs.hub():
        lines += ["", "What the hub's names stood for:", *(f"  {key}: {reference}" for key, reference in hub.items())]
    return "\n".join(lines)


def _described(inputs: Inputs) -> dict[str, Any]:
    """Return what the row is told of the inputs.

    What stands in goes along with the configuration that names it: an attempt that is killed before its first
    heartbeat must not leave the one without the other.
    """
    stand_ins = inputs.stand_ins.as_dict()
    return ({"progress": stand_ins} if stand_ins else {}) | {
        "device": inputs.placement.device,
        "precision": inputs.placement.precision,
        "dataset_digest": inputs.data.digest,
        "model_name": inputs.config.model.name,
        "dataset_name": inputs.config.data.dataset_name,
        "config": record_tree(inputs.config),
        "config_digest": config_digest(inputs.config),
    }
