"""`ft30 read`: the process that reads data for the API. Not for people, who use `ft30 data`."""

from __future__ import annotations

import click


@click.command("read", hidden=True)
def command() -> None:
    """Answer one JSON line of standard input with one JSON document on standard output."""
    from finetune30.service.datasets.reading_tasks import main
    from finetune30.service.searches.reading import read_search
    from finetune30.service.sets.reading import read_run_set

    main({"run_set": read_run_set, "search": read_search})
