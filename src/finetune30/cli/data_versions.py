"""`ft30 data versions`: make, find, compare, check out, verify and clear dataset versions."""

from __future__ import annotations

from pathlib import Path

import click

from finetune30.cli.data_source import (
    SOURCE_HELP,
    as_json_option,
    fetching_bar,
    print_json,
    read_request,
    source_options,
)
from finetune30.cli.named_option import named_option
from finetune30.cli.terminal_text import note
from finetune30.values import say_count

NAME_HELP = "VERSION is a digest, its beginning (4 digits or more) or a tag."


@click.group("versions")
def versions() -> None:
    """Make, find and compare dataset versions."""


@versions.command("create", epilog=SOURCE_HELP)
@source_options
@click.option(
    "--recipe", metavar="FILE", type=click.Path(path_type=Path), help="Clean with this YAML list of steps first."
)
@click.option("--clean", is_flag=True, help="Clean with the default recipe first.")
@click.option("--note", "note_text", metavar="TEXT", default="", help="Why this version exists.")
@click.option("--tag", metavar="NAME", help="Tag the version; a tag of another version stays there.")
@as_json_option
@click.pass_context
def create(
    context: click.Context,
    source: str | None,
    config_file: Path | None,
    recipe: Path | None,
    clean: bool,
    note_text: str,
    tag: str | None,
    as_json: bool,
) -> None:
    """Store rows as a version; the same rows are always the same version."""
    from finetune30.service.datasets.versions import make_version, tag_version
    from finetune30.settings import load_settings

    settings = load_settings()
    with fetching_bar() as bar:
        request = read_request(context, source, config_file)
        made = make_version(
            request, settings, note, clean=clean, recipe=recipe, note=note_text, tag=tag, on_transfer=bar
        )
    short = made["digest"][:12]
    if as_json:
        print_json(made)
    else:
        rows = ", ".join(f"{count:,} {split} rows" for split, count in made["rows"].items())
        click.echo(f"version {short}: {rows}" + ("" if made["is_new"] else " (was there already)"))
    if tag is not None:
        tag_version(settings, tag, made["digest"])
    if not as_json:
        click.echo(f"train on it: ft30 train --dataset version:{tag or short}")


@versions.command("list")
@as_json_option
def list_versions(as_json: bool) -> None:
    """List the versions, newest first."""
    from finetune30.service.datasets.operations import open_versions
    from finetune30.service.datasets.versions import list_versions as list_trees
    from finetune30.settings import load_settings

    with open_versions(load_settings()) as store:
        found = list_trees(store)
    if as_json:
        print_json({"versions": found})
        return
    if not found:
        click.echo("No versions yet. Make one with: ft30 data versions create SOURCE (every training makes one, too)")
        return
    from finetune30.cli.data_tables import print_versions

    print_versions(found)


@versions.command("show", epilog=NAME_HELP)
@click.argument("version")
@named_option(
    "limit", also=["rows"], type=click.IntRange(0, 1000), default=5, show_default=True, help="Rows shown a split."
)
@as_json_option
def show(version: str, limit: int, as_json: bool) -> None:
    """Show what a version holds, how it was made and which runs were trained on it."""
    from finetune30.service.datasets.versions import read_version
    from finetune30.settings import load_settings

    tree = read_version(load_settings(), version, limit)
    if as_json:
        print_json(tree)
        return
    from finetune30.cli.data_tables import print_version

    print_version(tree)


@versions.command("diff", epilog=NAME_HELP)
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option("--limit", type=click.IntRange(0, 1_000_000), default=20, show_default=True, help="Rows shown.")
@as_json_option
def diff(before: str, after: str, limit: int, as_json: bool) -> None:
    """Show the rows added, removed, relabelled and changed from A to B."""
    from finetune30.service.datasets.operations import open_versions
    from finetune30.service.datasets.versions import diff_trees
    from finetune30.settings import load_settings

    with open_versions(load_settings()) as store:
        tree = diff_trees(store, before, after, None if as_json else limit)
    if as_json:
        print_json(tree)
        return
    from finetune30.cli.data_tables import print_diff

    print_diff(tree)


@versions.command("tag", epilog=NAME_HELP)
@click.argument("tag", metavar="NAME")
@click.argument("version", required=False)
@click.option("--move", is_flag=True, help="Move a tag that points at another version.")
@click.option("--delete", is_flag=True, help="Remove the tag.")
def tag_version(tag: str, version: str | None, move: bool, delete: bool) -> None:
    """Give a version a name, or take the name away."""
    from finetune30.errors import UsageError
    from finetune30.service.datasets.versions import tag_version as give_tag
    from finetune30.settings import load_settings

    if (version is None) != delete:
        raise UsageError("give a tag and either a version or --delete", "ft30 data versions tag NAME VERSION")
    digest = give_tag(load_settings(), tag, version, move=move)
    click.echo(f"tag {tag} removed" if digest is None else f"{tag} -> {digest[:12]}")


@versions.command("checkout", epilog=NAME_HELP)
@click.argument("version")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--format", "format_name", type=click.Choice(["csv", "jsonl", "parquet"]), default="csv", show_default=True
)
@click.option("--overwrite", is_flag=True, help="Replace files that are already there.")
def checkout(version: str, folder: Path, format_name: str, overwrite: bool) -> None:
    """Write a version's rows as files."""
    from finetune30.service.datasets.versions import write_version
    from finetune30.settings import load_settings

    for path in write_version(load_settings(), version, folder, format_name, overwrite=overwrite):
        click.echo(path)


@versions.command("verify", epilog=NAME_HELP)
@click.argument("names", metavar="[VERSION]...", nargs=-1)
@as_json_option
@click.pass_context
def verify(context: click.Context, names: tuple[str, ...], as_json: bool) -> None:
    """Hash all rows again (of every version, unless some are named); exit code 1 when something is wrong."""
    from finetune30.service.datasets.versions import verify_versions
    from finetune30.settings import load_settings

    faults = verify_versions(load_settings(), names)
    if as_json:
        print_json({"versions": faults, "ok": not any(faults.values())})
    for digest, found in faults.items() if not as_json else ():
        click.echo(f"{digest[:12]}: {'ok' if not found else '; '.join(found)}")
    if any(faults.values()):
        context.exit(1)


@versions.command("gc")
@named_option("dry_run", is_flag=True, help="Only say what would go.")
@named_option("keep_days", type=click.FloatRange(0), default=30.0, show_default=True, help="Keep younger versions.")
@as_json_option
def gc(dry_run: bool, keep_days: float, as_json: bool) -> None:
    """Remove versions that neither a run nor a tag refers to, and pieces that belong to none."""
    from finetune30.service.datasets.versions import clear_versions
    from finetune30.settings import load_settings

    gone = clear_versions(load_settings(), keep_days=keep_days, dry_run=dry_run)
    if as_json:
        print_json({"dry_run": dry_run, **gone})
        return
    word = "would remove" if dry_run else "removed"
    click.echo(
        f"{word} {say_count(len(gone['versions']), 'versions')}, {say_count(len(gone['chunks']), 'pieces')}, "
        f"{len(gone['files'])} left-overs"
    )
    for digest in gone["versions"]:
        click.echo(f"  {digest[:12]}")
