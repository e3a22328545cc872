"""`ft30 mirror` and `ft30 mirrors`: carry recorded runs to trackers, once or from now on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from finetune30.cli.run_options import RUN_HELP, opened, output_dir_option, settings_for
from finetune30.cli.terminal_text import show_controls, tell
from finetune30.settings import MIRRORS
from finetune30.values import say_count

if TYPE_CHECKING:
    from finetune30.errors import Finetune30Error
    from finetune30.service.mirrors.protocol import Tracker
    from finetune30.service.runs.open_records import Records

_to = click.option(
    "--to",
    "names",
    multiple=True,
    metavar="TRACKER",
    help=f"Where to ({' or '.join(MIRRORS)}), instead of FT30_MIRRORS; also several times.",
)


@click.command("mirror", epilog=f"Example: ft30 mirror latest --to tensorboard. {RUN_HELP}")
@click.argument("run", required=False)
@_to
@click.option("--all", "every", is_flag=True, help="Every run that has ended, the oldest first.")
@click.option("--again", is_flag=True, help="Remove what lies there of the run, and carry it anew.")
@click.option(
    "--stop",
    is_flag=True,
    help="Carry the run no longer; without a run, follow the mirror no longer. What is there stays.",
)
@click.option("--list", "as_list", is_flag=True, help="Say how far the mirrors that are followed, and this run, are.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with --list.")
@output_dir_option
def mirror(
    run: str | None,
    names: tuple[str, ...],
    every: bool,
    again: bool,
    stop: bool,
    as_list: bool,
    as_json: bool,
    output_dir: Path | None,
) -> None:
    """Carry a recorded run to a tracker: parameters, steps, tags, state.

    What is there already is not sent twice. Nothing about the run changes. One that was stopped is carried again once
    it is named here.
    """
    from finetune30.errors import UsageError
    from finetune30.service.mirrors.choosing import build_trackers
    from finetune30.store.mirrors import load_finished_ids, stop_carrying

    if as_list:
        _print_states(run, output_dir, as_json=as_json)
        return
    if stop:
        if every or again:
            raise UsageError("--stop goes with neither --all nor --again", "name one run, or none for all of a mirror")
        _stop(run, names, output_dir)
        return
    if (run is None) != every:
        raise UsageError("name one run, or --all", "carry the newest: ft30 mirror latest")
    trackers = build_trackers(settings_for(output_dir), names)
    with opened(output_dir) as records:
        faults = []
        for tracker in trackers:
            if run is None:
                ids = load_finished_ids(records.store, tracker.name)
            else:
                ids = [records.store.get(run).id]
                stop_carrying(records.store, ids[0], tracker.name, stopped=False)
            faults += _carry(records, ids, tracker, again=again)
    for fault in faults[1:]:
        tell(f"Error: {fault.message}")
    if faults:
        raise faults[0]


@click.command("mirrors", epilog="Example: FT30_MIRRORS=tensorboard ft30 mirrors")
@_to
def follow(names: tuple[str, ...]) -> None:
    """Carry runs to trackers while they train and when they end, until told to stop.

    Runs that were queued before this was first started are carried by: ft30 mirror --all. A tracker that is out of
    reach changes nothing in a run; what it missed is caught up.
    """
    import logging
    import signal
    import threading

    from finetune30.service.mirrors.choosing import build_trackers
    from finetune30.service.mirrors.following import follow_all
    from finetune30.service.runs.open_records import Records
    from finetune30.settings import load_settings
    from finetune30.store import open_store

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it logs every request
    settings = load_settings()
    trackers = build_trackers(settings, names)
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    store = open_store(settings.resolved_database_url)
    try:
        for tracker in trackers:
            tell(f"{tracker.name}: {tracker.target}")
        follow_all(
            Records(store, settings.results_folder),
            trackers,
            stopping,
            every_seconds=settings.mirror_seconds,
            timeout_seconds=settings.mirror_timeout_seconds,
        )
    finally:
        store.close()


# --- private


def _carry(records: Records, ids: list[str], tracker: Tracker, *, again: bool) -> list[Finetune30Error]:
    """Carry runs and return what went wrong: what one run or tracker refuses holds up no other."""
    from finetune30.errors import Finetune30Error, ServiceUnavailableError
    from finetune30.service.mirrors.carrying import carry_run
    from finetune30.settings import load_settings

    timeout_seconds = load_settings().mirror_timeout_seconds
    faults: list[Finetune30Error] = []
    try:
        for run_id in ids:
            try:
                carried = carry_run(records, run_id, tracker, timeout_seconds=timeout_seconds, again=again)
            except ServiceUnavailableError as error:
                return [*faults, error]  # the next run would wait for the same silence
            except Finetune30Error as error:
                faults.append(error)
                continue
            done = (
                "another process carries it now"
                if carried.elsewhere
                else f"{say_count(carried.records, 'records')} there"
            )
            folder = records.store.get(run_id).folder
            click.echo(show_controls(f"{folder} -> {tracker.name} {tracker.target}: {done}"))
    finally:
        tracker.close()
    return faults


def _stop(run: str | None, names: tuple[str, ...], output_dir: Path | None) -> None:
    """Take a run off mirrors, or mirrors off altogether; the audit trail keeps who did."""
    from finetune30.cli.local_actor import record_local
    from finetune30.service.mirrors.choosing import choose_names
    from finetune30.store.mirrors import stop_carrying, stop_following

    chosen = choose_names(settings_for(output_dir), names)
    with opened(output_dir) as records:
        for name in chosen:
            if run is None:
                stop_following(records.store, name)
                record_local(records.store, "mirror.stop", name)
                click.echo(f"{name} is followed no longer; FT30_MIRRORS={name} ft30 mirrors would follow it again")
                continue
            found = records.store.get(run)
            stop_carrying(records.store, found.id, name, stopped=True)
            record_local(records.store, "mirror.stop", f"{found.id} to {name}")
            click.echo(show_controls(f"{found.folder} is carried to {name} no longer; what is there stays"))


def _print_states(run: str | None, output_dir: Path | None, *, as_json: bool) -> None:
    from finetune30.store.mirrors import describe_cursors, load_mirrors

    with opened(output_dir) as records:
        found = {
            "followed": [state.as_dict() for state in load_mirrors(records.store)],
            "run": [] if run is None else describe_cursors(records.store, records.store.get(run)),
        }
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    from finetune30.cli.mirror_tables import print_mirrors

    print_mirrors(found)
