"""The other processes of a distributed training: they compute with process 0 and record nothing.

What is trained stands in the run's row, which process 0 reads; so followers need neither a database nor the results
folder, and go on with a run as well as they begin one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from finetune30.config.loading import validate_tree
from finetune30.errors import CancelledError
from finetune30.service.execution.exactness import build_identity
from finetune30.service.execution.stop_signals import stop_on_signals

if TYPE_CHECKING:
    from finetune30.hub.fetching import Transfer
    from finetune30.training.peers import Peers


def follow_training(peers: Peers) -> None:
    """Take part in the training that process 0 records.

    Raises what ends it: the error that process 0 told, that of this process, or PeerLostError.
    """
    from finetune30.service.execution.experiment import build_experiment, describe_environment, load_inputs
    from finetune30.training.loop import train
    from finetune30.training.progress import QuietHooks
    from finetune30.training.together import share_start

    with stop_on_signals(_ignore, together=True) as stop_reason:

        def check() -> None:
            if reason := stop_reason():
                raise CancelledError("stopped before the training began", details={"reason": reason})

        def watch(_: Transfer) -> None:
            peers.require_all()
            check()

        order = peers.hear(check)
        if not order["trains"]:
            return
        config = validate_tree(order["config"], source=f"the record of run {order['run'][:8]}")
        explicit, data_folder = frozenset(order["explicit"]), Path(order["data_folder"])
        inputs = load_inputs(config, explicit, _ignore, data_folder, watch, order["precision_before"])
        environment = describe_environment(inputs)
        experiment = build_experiment(inputs, _ignore)
        identity = build_identity(experiment, experiment.complete(environment))
        start = share_start(experiment.engine, identity, None)
        train(
            experiment.engine,
            experiment.train_split,
            experiment.evaluation_split,
            experiment.inputs.config.training,
            experiment.problem,
            QuietHooks(stop_reason),  # process 0 reports
            resume_from=start,
        )


def _ignore(_: str) -> None:
    """Process 0 logs."""
