"""From a configuration to everything that the loop needs, on this machine."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune30.config import ExperimentConfig
from finetune30.config.conversations import follow_conversations
from finetune30.config.offline_fallback import resolve_fallbacks, tuned_settings
from finetune30.data.texts import learns_conversations
from finetune30.hub.reach import unreachable_reason
from finetune30.modeling.conversations.template_files import asks_clock
from finetune30.modeling.families import left_out_labels
from finetune30.modeling.heavy_imports import import_heavy
from finetune30.problems.of_rows import problem_of_rows
from finetune30.problems.trainables import load_trainable
from finetune30.service.execution.exact_encoding import digest_encoding
from finetune30.service.execution.row_ledger import describe_limits, settle_ledger
from finetune30.service.execution.token_ledger import build_token_ledger, describe_token_ledger
from finetune30.service.execution.tokenless_rows import encode_what_says_something
from finetune30.service.execution.unknown_tokens import judge_unknown_tokens
from finetune30.service.execution.warm_start import START_OF_ADAPTER, load_start_targets

if TYPE_CHECKING:
    from finetune30.data.encoding import EncodedSplit
    from finetune30.data.prepare import PreparedData
    from finetune30.hub.fetching import OnTransfer
    from finetune30.modeling.base import BaseSource
    from finetune30.modeling.devices import Placement
    from finetune30.training.engine import Engine
    from finetune30.training.problem import Doubt, Trainable

Log = Callable[[str], None]
_LABELS_SHOWN = 6


@dataclass(frozen=True)
class StandIns:
    """What stands in for a default out of reach: name -> what is used instead, and the settings that came with it."""

    replaced: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return what metrics and progress of a run hold; nothing where nothing was replaced."""
        return {"replaced": self.replaced, "replaced_settings": self.settings} if self.replaced else {}


@dataclass(frozen=True)
class Inputs:
    """What a run is made from: the configuration that can run here, its rows, its base model, its place."""

    config: ExperimentConfig
    stand_ins: StandIns
    data: PreparedData
    source: BaseSource
    placement: Placement
    deterministic: bool

    def hub(self) -> dict[str, str]:
        """Return what names of the hub stood for, by their keys: `namespace/name at commit`."""
        found = {}
        if self.source.revision is not None:
            found["model.name"] = f"{self.source.reference} at {self.source.revision}"
        if (hub := self.data.source["hub"]) is not None:
            found["data.dataset_name"] = f"{hub['id']} at {hub['commit']}"
        return found


@dataclass(frozen=True)
class Experiment:
    """Inputs turned into an engine and encoded rows."""

    inputs: Inputs
    problem: Trainable
    engine: Engine
    train_split: EncodedSplit
    evaluation_split: EncodedSplit
    #: What makes the result doubtful before anything is learnt.
    doubts: list[Doubt] = field(default_factory=list)
    #: Tokens by split and kind, where the problem tells kinds apart.
    token_ledger: dict[str, dict[str, int]] = field(default_factory=dict)
    #: What the rows were encoded to (see `digest_encoding`), where more than files on record decides it.
    encoding: dict[str, str] = field(default_factory=dict)

    def complete(self, environment: Mapping[str, Any]) -> dict[str, Any]:
        """Return an environment (see `describe_environment`) with what the engine decided."""
        from finetune30.training.paths import describe_path

        packing = {"packing": "on"} if self.engine.packs else {}
        kernels = {} if self.engine.kernels is None else {"gpu_kernels": self.engine.kernels}
        digest = self.engine.start_digest
        taken_out = {} if digest is None else {START_OF_ADAPTER: digest}
        decided = {"precision": self.inputs.placement.precision, **describe_path(self.engine.name)}
        return {**environment, **decided, **packing, **kernels, **taken_out}

    @property
    def left_out_head(self) -> tuple[str, ...]:
        """The labels of the base model's own head, where it has another size than the one that is trained."""
        return left_out_labels(self.inputs.source.load_json("config.json"), self.problem.head_outputs)


def load_inputs(
    config: ExperimentConfig,
    explicit: frozenset[str],
    log: Log,
    data_folder: Path | None,
    on_transfer: OnTransfer | None = None,
    precision_before: str | None = None,
) -> Inputs:
    """Find device, base model and rows; fall back to the starter where that is allowed.

    `precision_before`: that of the attempts before, or of the run that this one repeats; `precision: auto` stays what
    it was.

    The configuration that comes back names the commits that the hub's names stood for, so that whoever goes on with or
    repeats the run gets the same. Raises DeviceError, ModelError, DataError, HubError.
    """
    from finetune30.data.prepare import prepare_data
    from finetune30.modeling.base import find_base
    from finetune30.modeling.devices import choose_placement, find_unused_gpu
    from finetune30.modeling.quantization import require_quantization

    import_heavy("torch")  # before the next lines do it in the ordinary way
    from finetune30.training.determinism import apply_determinism
    from finetune30.training.processes import join_processes, require_own_device

    join_processes(config.training.device)
    placement = choose_placement(config.training.device, config.training.precision, precision_before)
    require_quantization(config.model.quantization, placement.device)
    deterministic = apply_determinism(placement.device, config.training.deterministic)
    require_own_device(placement.device, config.training.device)
    log(f"device: {placement.device}, precision {placement.precision} ({placement.reason})")
    if (why := find_unused_gpu(placement, config.training.device)) is not None:
        log(f"WARNING: this machine has an NVIDIA GPU, and the training runs on the CPU: {why}")
    sources: dict[str, BaseSource] = {}
    prepared: dict[str, PreparedData] = {}

    def reach_model(wanted: ExperimentConfig) -> None:
        sources[wanted.model.name] = find_base(wanted.model, log, on_transfer, data_folder=data_folder)

    def reach_data(wanted: ExperimentConfig) -> None:
        prepared[wanted.data.dataset_name] = prepare_data(
            wanted.data,
            problem=problem_of_rows(wanted.model.problem_type, wanted.data.dataset_name, data_folder),
            num_labels=wanted.model.num_labels,
            seed=wanted.row_seed,
            log=log,
            data_folder=data_folder,
            on_transfer=on_transfer,
        )

    resolved, replaced = resolve_fallbacks(config, explicit, reach_model, reach_data)
    for wanted, used in replaced.items():
        log(f"WARNING: {unreachable_reason()} and '{wanted}' is not cached: using '{used}' instead")
    if settings := tuned_settings(config, resolved):
        listed = ", ".join(f"{key} {'null' if value is None else value}" for key, value in settings.items())
        log(f"with the starter's own settings where yours were the defaults: {listed}")
    if resolved.model.name not in sources:
        reach_model(resolved)
    if resolved.data.dataset_name not in prepared:
        reach_data(resolved)
    source, data = sources[resolved.model.name], prepared[resolved.data.dataset_name]
    stand_ins = StandIns(replaced, settings)
    resolved, followed = follow_conversations(resolved, data.problem.name, explicit)
    if followed:
        listed = ", ".join(f"{key} {value}" for key, value in followed.items())
        log(f"since the rows are conversations: {listed} (for others, name the problem with them: model.problem_type)")
    return Inputs(_pinned(resolved, source, data), stand_ins, data, source, placement, deterministic)


def _pinned(config: ExperimentConfig, source: BaseSource, data: PreparedData) -> ExperimentConfig:
    tree = config.as_tree()
    if source.revision is not None:
        tree["model"]["revision"] = source.revision
    if data.source["hub"] is not None:
        tree["data"]["revision"] = data.source["hub"]["commit"]
    if learns_conversations(data.problem) and config.chat.date is None and asks_clock(source, config.chat.template):
        tree["chat"]["date"] = date.today().isoformat()
    return ExperimentConfig.model_validate(tree)


def build_experiment(inputs: Inputs, log: Log) -> Experiment:
    """Load model and tokenizer, encode the rows, and choose the training path."""
    from finetune30.training.paths import build_encoder, build_engine, choose_path, settle_packing

    config, data = inputs.config, inputs.data
    problem = load_trainable(data.problem.name, data.targets).with_base(inputs.source, config, log)
    problem = _in_order(problem, inputs, log)
    path, reason = choose_path(config, inputs.source, problem, inputs.placement)
    encoder = build_encoder(path, inputs.source, config.data.max_length, problem)

    def encode(prepared: PreparedData) -> dict[str, EncodedSplit]:
        return {
            split: prepared.problem.encode(rows, encoder, problem.targets, config.data.max_length)
            for split, rows in (("train", prepared.train), ("evaluation", prepared.evaluation))
        }

    data, splits = encode_what_says_something(data, encode, config.data, log)
    train_split, evaluation_split = splits["train"], splits["evaluation"]
    for line in describe_limits(data.ledger):
        log(line)
    log(
        f"data: {len(train_split)} training rows ({int(train_split.truncated.sum())} truncated to "
        f"{config.data.max_length} tokens), {len(evaluation_split)} evaluation rows "
        f"({int(evaluation_split.truncated.sum())} truncated)"
    )
    token_ledger = build_token_ledger(splits)
    for line in describe_token_ledger(token_ledger):
        log(f"ledger: {line}")
    problem = problem.with_baseline_of(train_split)
    allowed = config.data.allow_unknown_tokens
    data, doubts = judge_unknown_tokens(data, splits, inputs.source.name, allowed=allowed, log=log)
    engine = build_engine(path, config, inputs.source, problem, inputs.placement, log)
    share = 100 * engine.trainable_parameters / engine.total_parameters
    log(
        f"model: {inputs.source.described}, {engine.total_parameters:,} parameters, {engine.trainable_parameters:,} "
        f"trainable ({share:.2f} %)"
    )
    log(f"training path: {engine.name}, {engine.operations} ({reason})")
    settle_packing(engine, train_split, config, log)
    if config.training.cache_frozen_layers and (kept := engine.remember(train_split)):
        kept += engine.remember(evaluation_split)
        log(f"layers below the lowest one with LoRA run once a row; what they make takes up to {kept / 1e6:,.0f} MB")
    placement = replace(inputs.placement, precision=engine.precision)  # what a family can do may be less
    inputs = replace(inputs, data=settle_ledger(data, train_split, evaluation_split, log), placement=placement)
    encoding = digest_encoding(problem.targets, splits)
    experiment = Experiment(inputs, problem, engine, train_split, evaluation_split, doubts, token_ledger, encoding)
    if labels := experiment.left_out_head:
        shown = ", ".join(labels[:_LABELS_SHOWN]) + (", …" if len(labels) > _LABELS_SHOWN else "")
        log(
            f"head: that of '{inputs.source.name}' has {len(labels)} outputs ({shown}), asked for are "
            f"{problem.head_outputs}: it is left out and a new one is trained"
        )
    return experiment


def _in_order(problem: Trainable, inputs: Inputs, log: Log) -> Trainable:
    """Return the problem with its targets in the order of the head that the training starts from."""
    start = inputs.config.training.start_adapter
    targets = None if start is None else load_start_targets(start)
    if start is None or targets is None:
        return problem.follow_head(inputs.source, log)
    return problem.follow_adapter(targets, start, log)


def describe_environment(inputs: Inputs) -> dict[str, Any]:
    """Return what must be equal for an exact repetition: versions, platform, device, threads; several processes."""
    import platform
    from importlib.metadata import version

    import torch

    from finetune30 import __version__
    from finetune30.modeling.quantization_settings import QUANTIZING_PACKAGE
    from finetune30.training.packed.native.library import describe_kernels
    from finetune30.training.processes import describe_processes

    libraries = ["torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors", "numpy"]
    if inputs.config.model.quantization is not None:
        libraries.append(QUANTIZING_PACKAGE)
    return {
        "versions": {"finetune30": __version__, "python": platform.python_version()}
        | {name: version(name) for name in libraries},
        "platform": f"{platform.system()} {platform.machine()}",
        "device": inputs.placement.device,
        "device_name": torch.cuda.get_device_name() if inputs.placement.device.startswith("cuda") else _cpu_name(),
        "precision": inputs.placement.precision,
        "deterministic": inputs.deterministic,
        "threads": torch.get_num_threads(),
        "compiled_kernels": describe_kernels(),
        **_cuda_libraries(inputs.placement.device),
        **describe_processes(),
    }


def _cuda_libraries(device: str) -> dict[str, Any]:
    """Return the libraries whose kernels a GPU of NVIDIA runs; nothing elsewhere."""
    import torch

    if not device.startswith("cuda"):
        return {}
    return {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}


def _cpu_name() -> str:
    import platform

    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.exists():
        for line in cpu_info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if platform.system() == "Darwin":  # where the processor's name is "arm" of every one of Apple's
        named = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False
        )
        if named.returncode == 0:
            return named.stdout.strip()
    return platform.processor() or platform.machine()
