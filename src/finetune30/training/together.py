"""What several processes on one training give each other: random streams for a checkpoint, and the same start."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from finetune30.errors import ConflictError
from finetune30.training import processes
from finetune30.training.checkpoints import Checkpoint, find_differences, split_streams
from finetune30.training.engine import Engine
from finetune30.training.streams import digest_tensors

#: What may differ between the processes of one training: each has a device, a number of threads and a host of its own.
_OWN = frozenset({"device", "device_name", "threads", "platform", "compiled_kernels"})
_ADAPTER, _OPTIMIZER, _BEST, _STREAMS = "adapter/", "optimizer/", "best/", "streams/"


def gather_streams(engine: Engine) -> list[dict[str, Any]]:
    """Return the random streams of every process, in order of rank; all must come here together."""
    if processes.world_size() == 1:
        return [engine.rng_state()]
    return [unpack(content)[0] for content in processes.gather_bytes(pack(engine.rng_state()), engine.device)]


def digest_streams(streams: list[dict[str, Any]]) -> str:
    """Return the sha256 over the random streams of all processes; that of a single one is its own."""
    if len(streams) == 1:
        return digest_tensors(streams[0])
    return digest_tensors({str(rank): digest_tensors(state) for rank, state in enumerate(streams)})


def share_start(engine: Engine, identity: Mapping[str, Any], start: Checkpoint | None) -> Checkpoint | None:
    """Return what all processes begin from: the checkpoint of process 0, else its weights, which all take over.

    `identity` is what this process would train with (see `Checkpoints`). Raises ConflictError in a process where that
    is something else than in process 0: other rows, another model, another version.
    """
    if processes.world_size() == 1:
        return start
    is_first = processes.rank() == 0
    told = processes.broadcast_bytes(_pack_start(engine, identity, start) if is_first else None, engine.device)
    if is_first:
        return start
    tensors, facts = unpack(told)
    _require_same(facts["identity"], json.loads(json.dumps(dict(identity))))
    if facts["step"] is None:
        engine.load_adapter_state(_part(tensors, _ADAPTER))
        return None
    streams = [{**values, **_part(tensors, f"{_STREAMS}{rank}/")} for rank, values in enumerate(facts["streams"])]
    return Checkpoint(
        facts["step"],
        Path(),
        _part(tensors, _ADAPTER),
        _part(tensors, _OPTIMIZER),
        _part(tensors, _BEST),
        streams[0],
        facts["progress"],
        tuple(streams[1:]),
    )


def pack(state: Mapping[str, Any]) -> bytes:
    """Return tensors and JSON values by name as bytes (safetensors; nothing is pickled)."""
    from safetensors.torch import save

    tensors, values = split_streams(state)
    content: bytes = save(tensors, {"values": json.dumps(values)})
    return content


def unpack(content: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what was packed, tensors and values together, and the values alone."""
    from safetensors.torch import load

    size = int.from_bytes(content[:8], "little")
    values: dict[str, Any] = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["values"])
    return {**values, **load(content)}, values


def _pack_start(engine: Engine, identity: Mapping[str, Any], start: Checkpoint | None) -> bytes:
    if start is None:
        facts: dict[str, Any] = {"identity": dict(identity), "step": None}
        return pack({**facts, **_named(engine.adapter_state(), _ADAPTER)})
    streams = [split_streams(state) for state in (start.rng, *start.others)]
    message: dict[str, Any] = {
        "identity": dict(identity),
        "step": start.step,
        "progress": start.progress,
        "streams": [values for _, values in streams],
        **_named(start.adapter, _ADAPTER),
        **_named(start.optimizer, _OPTIMIZER),
        **_named(start.best, _BEST),
    }
    for rank, (tensors, _) in enumerate(streams):
        message |= _named(tensors, f"{_STREAMS}{rank}/")
    return pack(message)


def _named(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _part(tensors: Mapping[str, Any], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _require_same(first: dict[str, Any], mine: dict[str, Any]) -> None:
    differing = {key: pair for key, pair in find_differences(first, mine).items() if key.partition(".")[0] not in _OWN}
    if differing:
        listed = [f"{key}: {there} in process 0, {here} here" for key, (there, here) in differing.items()]
        raise ConflictError(
            f"this process would train something else than process 0: {'; '.join(listed)}",
            "give every host the same files, models and versions",
            details={"differences": listed},
        )
