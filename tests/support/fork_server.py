"""Real `ft30` processes without the start-up: a parent imports the heavy libraries once and forks a child a command.

Every child is a process of its own that runs the real command line, can be killed for good, and starts from the same
state: the parent has imported modules and done nothing else. Run as a script this module is the parent; requests and
answers are lines of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

#: What a command imports that reads no setting of hub clients; what does is imported by each child, with its own.
_WITHOUT_HUB = (
    "torch",
    "torch._dynamo",
    "torch.distributed.checkpoint.hf_storage",
    "torch.distributed.fsdp",
    "torch.distributed.tensor",
    "scipy.optimize",
    "scipy.stats",
    "sqlalchemy",
    "alembic.migration",
    "alembic.operations",
    "polars",
    "pyarrow.parquet",
    "safetensors.torch",
    "tokenizers",
    "finetune30.cli.main",
    "finetune30.service.execution.local",
    "finetune30.training.loop",
    "finetune30.training.general",
    "finetune30.training.packed.engine",
)
_READ_SETTINGS_OF_THE_HUB = ("huggingface_hub", "datasets", "transformers", "peft")
_IMPORTED_FIRST = (
    "torch",
    "transformers",
    "transformers.models.auto.modeling_auto",
    "transformers.models.distilbert.modeling_distilbert",
    "transformers.models.bert.modeling_bert",
    "peft",
    "safetensors.torch",
    "sklearn.metrics",
    "sqlalchemy",
    "alembic.migration",
    "alembic.operations",
    "finetune30.cli.main",
    "finetune30.service.execution.local",
    "finetune30.training.loop",
    "finetune30.training.general",
    "finetune30.training.packed",
)


class Ended(NamedTuple):
    """How a command ended; a negative code is the signal that killed it."""

    returncode: int
    stdout: str
    stderr: str


class ForkServer:
    """The parent's client; use it as a context manager."""

    def __init__(self, folder: Path, *paths: Path, hub_user: Mapping[str, str] | None = None) -> None:
        """`paths` are further folders on Python's path.

        `hub_user`: the whole environment of commands that use a hub; its settings may be others in each child.
        """
        self._folder = folder
        tests = Path(__file__).resolve().parents[1]
        self.python_path = os.pathsep.join(map(str, [tests.parent / "src", tests, *paths]))
        environment = {**(os.environ if hub_user is None else hub_user), "PYTHONPATH": self.python_path}
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "support.fork_server", *([] if hub_user is None else ["hub"])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=folder,
        )
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._requests, self._answers = self._parent.stdin, self._parent.stdout

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._requests.close()
        self._parent.wait(timeout=600)
        self._answers.close()

    def run(self, *arguments: str, cwd: Path, **environment: str) -> Ended:
        """Run `ft30 ARGUMENTS` in a fresh child with these further variables, wait for its end."""
        self.start(*arguments, cwd=cwd, **environment)
        return self.wait()

    def start(self, *arguments: str, cwd: Path, **environment: str) -> int:
        """Begin such a run and return the child's process id; `wait` comes next."""
        streams = [str(self._folder / name) for name in ("child.out", "child.err")]
        request = {"arguments": arguments, "cwd": str(cwd), "environment": environment, "streams": streams}
        self._requests.write(json.dumps(request).encode() + b"\n")
        self._requests.flush()
        self._streams = streams
        return int(self._answer()["pid"])

    def wait(self) -> Ended:
        """Wait for the end of the child that was started last."""
        return Ended(self._answer()["returncode"], *(Path(stream).read_text() for stream in self._streams))

    def _answer(self) -> dict[str, int]:
        answer = self._answers.readline()
        if not answer:
            raise RuntimeError(f"the fork server ended with code {self._parent.wait()}")
        return json.loads(answer)


def serve() -> None:
    """Fork a child for every request on standard input."""
    from finetune30.modeling.heavy_imports import import_heavy

    uses_hub = sys.argv[1:] == ["hub"]
    # It keeps the garbage collector away from what came in: a child would copy all of it to go through it.
    import_heavy(*(_WITHOUT_HUB if uses_hub else _IMPORTED_FIRST))
    if uses_hub and (read := [name for name in _READ_SETTINGS_OF_THE_HUB if name in sys.modules]):
        raise AssertionError(f"{read} have read the settings of this process")
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _become_command(request)
        _tell({"pid": child})
        _, status = os.waitpid(child, 0)
        _tell({"returncode": os.waitstatus_to_exitcode(status)})


def _tell(answer: dict[str, int]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _become_command(request: dict) -> None:
    import torch

    from finetune30.cli.main import main

    code = 70
    try:
        for number, path in zip((1, 2), request["streams"], strict=True):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        os.chdir(request["cwd"])
        os.environ.update(request["environment"])
        if threads := request["environment"].get("OMP_NUM_THREADS"):
            torch.set_num_threads(int(threads))  # the parent read the variable when it imported PyTorch
        sys.argv = ["ft30", *request["arguments"]]
        code = main() or 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
