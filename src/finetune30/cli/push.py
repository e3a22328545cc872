"""`ft30 push`: a finished run's model, or an export of it, to the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from finetune30.cli.named_option import named_option
from finetune30.cli.run_options import output_dir_option

if TYPE_CHECKING:
    from finetune30.service.exports.pushing import Push


@click.command(
    "push",
    epilog="Example: ft30 push reviews@production my-team/reviews --dry-run   or   "
    "ft30 push latest my-team/reviews-merged --export exports/reviews-merged",
)
@click.argument("run")
@click.argument("repository")
@click.option(
    "--export",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Push this export of the run (see ft30 export) instead of its adapter.",
)
@click.option("--public", is_flag=True, help="A repository for everybody; left out, a new one is private.")
@click.option("--overwrite", is_flag=True, help="Replace files that no push wrote, or that were changed on the hub.")
@named_option("dry_run", is_flag=True, help="Say what would be sent and send nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@output_dir_option
def command(
    run: str,
    repository: str,
    export: Path | None,
    public: bool,
    overwrite: bool,
    dry_run: bool,
    as_json: bool,
    output_dir: Path | None,
) -> None:
    """Send the adapter of RUN (id, folder, name, latest, NAME@alias or NAME:7) to REPOSITORY (NAMESPACE/NAME).

    All files come to the hub in one commit and are held against what was sent. No path of this machine and
    no row of the data goes along: answers that the card quotes are left out. The token is that of HF_TOKEN, or of
    hf auth login.

    In a repository that exists, files of an earlier push are replaced or removed; others stay. What somebody changed
    there by hand is replaced with --overwrite only.
    """
    from finetune30.cli.local_actor import local_actor
    from finetune30.cli.terminal_text import show_controls, tell
    from finetune30.service.exports.pushing import push_model
    from finetune30.settings import load_settings

    push = push_model(
        load_settings(),
        output_dir,
        run,
        repository,
        lambda line: tell(show_controls(line)),
        export=export,
        private=not public,
        overwrite=overwrite,
        dry_run=dry_run,
        by=local_actor(),
    )
    if as_json:
        click.echo(json.dumps(_as_tree(push), ensure_ascii=False))
    else:
        _print(push, dry_run=dry_run)


def _as_tree(push: Push) -> dict[str, object]:
    from dataclasses import asdict

    from finetune30.hub.reach import hub_endpoint

    return {**asdict(push), "url": f"{hub_endpoint()}/{push.repository}"}


def _print(push: Push, *, dry_run: bool) -> None:
    from finetune30.cli.terminal_text import show_controls
    from finetune30.hub.reach import hub_endpoint

    for file in push.files:
        told = "" if file.size is None else f"  {file.size:,} bytes  sha256 {str(file.sha256)[:16]}"
        click.echo(show_controls(f"{file.state:<8} {file.path}{told}"))
    kind = "private" if push.is_private else "public"
    address = f"{hub_endpoint()}/{push.repository}"
    if dry_run:
        click.echo(f"nothing was sent: {'' if push.exists else 'a new '}{kind} repository {address}")
    else:
        click.echo(f"{address} at {push.commit} ({kind})")
