"""`ft30 resume`: go on with a run that was killed, cancelled or failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from finetune30.cli.named_option import named_option
from finetune30.cli.run_options import output_dir_option, settings_for


@click.command("resume", epilog="Example: ft30 resume latest")
@click.argument("run")
@named_option(
    "epochs",
    also=["training.num_train_epochs"],
    metavar="N",
    help="Another number of epochs, where the schedule permits it.",
)
@named_option(
    "max_steps",
    also=["training.max_steps"],
    metavar="N",
    help="Another number of steps, where the schedule permits it.",
)
@named_option("warm_start", is_flag=True, help="Begin a new run from the weights instead.")
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a key, for example --set training.learning_rate=0.0001; needs --warm-start.",
)
@output_dir_option
@click.pass_context
def command(
    context: click.Context,
    run: str,
    epochs: str | None,
    max_steps: str | None,
    warm_start: bool,
    assignments: tuple[str, ...],
    output_dir: Path | None,
) -> None:
    """Go on with a killed, cancelled or failed run, bit for bit as if it had never stopped.

    RUN is an id, its beginning, a folder's name, an experiment's name (the newest of it), 'latest', or a version of a
    model: NAME, NAME@alias or NAME:7.

    A changed configuration, data set, base model or library version is refused with the list of what differs. More
    epochs are possible where the learning rate of the steps taken so far stays the same (constant schedules).
    --warm-start is the other thing: a new run that starts from the weights, under any configuration.
    """
    changes = _collect_changes(epochs, max_steps, assignments)
    from finetune30.cli.results import print_results
    from finetune30.service.execution.resume import count_to_resume, resume_locally
    from finetune30.service.execution.starting import count_to_start, start_together

    settings = settings_for(output_dir)
    if count := count_to_start(lambda: count_to_resume(run, settings, changes, warm_start=warm_start)):
        context.exit(start_together(context.obj, count))
    finished = resume_locally(run, settings, changes, warm_start=warm_start)
    if finished is None:  # another process of a launcher reports
        return
    print_results(finished.run_id, finished.name, finished.folder, finished.metrics)


def _collect_changes(epochs: str | None, max_steps: str | None, assignments: tuple[str, ...]) -> dict[str, Any]:
    from finetune30.config.loading import load_override

    texts = {"training.num_train_epochs": epochs, "training.max_steps": max_steps}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key.strip():
            raise click.BadParameter(f"{assignment!r} is not KEY=VALUE, for example training.seed=1")
        texts[key.strip()] = value.strip()
    return {key: load_override(key, text) for key, text in texts.items() if text is not None}
