"""`ft30 push`: a finished run's model, or an export of it, as a repository of the hub; no path, no row goes along."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from finetune30.errors import ConflictError, HubUnavailableError, StorageError, UsageError
from finetune30.files import load_json, sha256_of
from finetune30.hub.names import RemoteFile
from finetune30.hub.sending import HUBS_OWN, Outgoing, Repository, find_repository, send, weigh
from finetune30.modeling.model_card import replace_results
from finetune30.modeling.saved_targets import load_targets
from finetune30.problems import load_card
from finetune30.service.exports.kinds import RECEIPT
from finetune30.service.exports.staging import SUMS, read_sums
from finetune30.service.models.model_package import CARD, build_model_package
from finetune30.service.runs.blocks import build_result_blocks
from finetune30.service.runs.details import require_model
from finetune30.service.runs.open_records import Records, open_records, require_records
from finetune30.settings import Settings
from finetune30.store import Run
from finetune30.store.access import record_audit

Log = Callable[[str], None]

_ADAPTER = "adapter/"
_BASE = "base/"
#: What the cards and guides say in the place of the name under which a model is loaded.
_PLACES = ("path/to/final_model", "path/to/this/folder")
#: The first line of a list that a push wrote, by which it is told from other people's; a remark for `sha256sum -c`.
_MARK = "# pushed by finetune30\n"
#: Which library reads a form, as the hub calls it.
_LIBRARIES = {"merged": "transformers", "onnx": "onnx", "gguf": "gguf"}


class State(StrEnum):
    """What a push does with a file of the repository."""

    NEW = "new"
    CHANGED = "changed"
    SAME = "same"
    REMOVED = "removed"
    #: None of ours: it stays as it is.
    LEFT = "left"
    #: The hub was not asked.
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class PushedFile:
    """A file of the repository; bytes and sha256 of what is to stand there, None of what is not ours to send."""

    path: str
    state: State
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Push:
    """What was done, or, in a dry run, would be; `commit` is the one that has it, None where nothing was sent."""

    repository: str
    is_private: bool
    exists: bool
    files: tuple[PushedFile, ...]
    commit: str | None


def push_model(
    settings: Settings,
    output_dir: Path | None,
    run_name: str,
    repository: str,
    log: Log,
    *,
    export: Path | None = None,
    private: bool = True,
    overwrite: bool = False,
    dry_run: bool = False,
    by: str = "",
) -> Push:
    """Send the adapter of a SUCCEEDED run, or the `export` of it in a folder, to the hub in one commit.

    A new repository is `private` or for everybody. In one that exists, files of an earlier push are replaced or
    removed and all others left; what was changed there by hand is not replaced without `overwrite`. A dry run looks
    and sends nothing. The audit trail keeps who pushed what where.

    Raises NotFoundError, ConflictError (no model, a base model that no hub has, changes on the hub), UsageError
    (a public repository while `private`; no export of this run), StorageError (damaged files, or one that names a
    place on this machine), and the errors of the hub.
    """
    require_records(settings, output_dir)
    with open_records(settings, output_dir) as records:
        run = require_model(records.store.get(run_name))
        contents = _adapter_files(records, run) if export is None else _export_files(run, export)
        contents[CARD] = _card_for(repository, run, contents[CARD], export)
        outgoing = {path: weigh(content) for path, content in sorted(contents.items())}
        sums = "".join(f"{file.sha256}  {path}\n" for path, file in outgoing.items())
        outgoing[SUMS] = weigh((_MARK + sums).encode())
        try:
            found = find_repository(repository, log)
        except HubUnavailableError as error:
            if not dry_run:
                raise
            log(f"the hub was not asked: {error.message}")
            unknown = tuple(PushedFile(path, State.UNKNOWN, f.size, f.sha256) for path, f in outgoing.items())
            return Push(repository, private, exists=False, files=unknown, commit=None)
        files = _compare(outgoing, found, log, overwrite=overwrite)
        if found is not None and not found.is_private and private:
            raise UsageError(f"'{repository}' is public: everybody may read it", "add --public if that is meant")
        if found is not None and found.is_private and not private:
            log(f"{repository} is private on the hub and stays so: a push makes only new repositories public")
        plan = Push(repository, private if found is None else found.is_private, found is not None, files, commit=None)
        if dry_run:
            return plan
        if found is not None and all(file.state in (State.SAME, State.LEFT) for file in files):
            return Push(plan.repository, plan.is_private, plan.exists, files, found.reference.commit)
        removed = [file.path for file in files if file.state is State.REMOVED]
        message = f"{run.name}: run {run.id[:8]}, pushed by finetune30"

        def enter(commit: str) -> None:
            """Say in the audit trail what the hub has now, whatever goes wrong after that."""
            target = f"{run.id} to {repository}@{commit}"
            record_audit(records.store, actor=by, role="admin", action="run.push", target=target)

        commit = send(repository, found, outgoing, removed, message, log, private=private, sent=enter)
        return Push(plan.repository, plan.is_private, plan.exists, files, commit)


def _adapter_files(records: Records, run: Run) -> dict[str, bytes | Path]:
    """Return the files of the adapter, without places of this machine. Raises ConflictError for a base of no hub."""
    members = build_model_package(records, run).members
    if any(member.name.startswith(_BASE) for member in members):
        raise ConflictError(
            f"the base model of {run.folder} is of no hub, so nobody could load its adapter from there",
            f"merge them (ft30 export {run.id[:8]} --as merged) and push that: --export FOLDER",
        )
    return {
        member.name.removeprefix(_ADAPTER): member.content for member in members if member.name.startswith(_ADAPTER)
    }


def _export_files(run: Run, folder: Path) -> dict[str, bytes | Path]:
    """Return the files of an export of this run, as it was sealed. Raises UsageError and StorageError."""
    if not (folder / RECEIPT).is_file() or not (folder / SUMS).is_file():
        raise UsageError(f"'{folder}' is no export", f"make one: ft30 export {run.id[:8]} --as merged")
    receipt = load_json(folder / RECEIPT)
    if (receipt["run_id"], receipt["manifest_sha256"]) != (run.id, run.manifest_sha256):
        raise UsageError(
            f"'{folder}' is an export of run {receipt['run_id'][:8]}, not of {run.id[:8]}", "name the run that it is of"
        )
    sums = read_sums(folder)
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {SUMS}
    if foreign := sorted(there - sums.keys()):
        raise UsageError(f"no export wrote '{foreign[0]}' in '{folder}'", "move it away: only what was measured leaves")
    damaged = [name for name, digest in sums.items() if name not in there or sha256_of(folder / name) != digest]
    if damaged:
        raise StorageError(f"'{folder}' is damaged: {', '.join(damaged)}", "make the export again, with --overwrite")
    return {name: folder / name for name in sums}


def _card_for(repository: str, run: Run, card: bytes | Path, export: Path | None) -> bytes:
    """Return the card as others are to read it: loaded by its name there, its results without a text of the data."""
    text = (card if isinstance(card, bytes) else card.read_bytes()).decode()
    if export is None:
        results = build_result_blocks(run.metrics or {})
        text = replace_results(text, [block for block in results if not getattr(block, "is_sample", False)])
    else:
        text = _front_matter(export) + text
    for place in _PLACES:
        text = text.replace(place, repository)
    return text.encode()


def _front_matter(export: Path) -> str:
    """Return what the hub reads of an export; its guide begins without."""
    receipt, described = load_json(export / RECEIPT), load_targets(export)
    base = receipt["base"]
    lines = [
        *([f"base_model: {base['name']}"] if base["revision"] else []),
        f"library_name: {_LIBRARIES[receipt['form']]}",
        f"pipeline_tag: {load_card(described['problem_type'], described['targets']).pipeline_tag}",
        "tags:",
        "- finetune30",
    ]
    return "---\n" + "\n".join(lines) + "\n---\n\n"


def _compare(
    outgoing: Mapping[str, Outgoing], found: Repository | None, log: Log, *, overwrite: bool
) -> tuple[PushedFile, ...]:
    """Return what becomes of each file. Raises ConflictError for files of others that would be replaced."""
    remote = {} if found is None else {path: f for path, f in found.files.items() if path not in HUBS_OWN}
    earlier = _pushed_before(found, log) if found is not None and SUMS in remote else {}
    ours = {*earlier, SUMS} if earlier else set()
    foreign = [path for path in remote if path not in ours and path in outgoing]
    changed = [] if found is None else _changed_by_hand(found, earlier, outgoing, log)
    at_stake = sorted(path for path in {*foreign, *changed} if not _is_there(outgoing.get(path), remote.get(path)))
    if at_stake and found is not None and not overwrite:
        raise ConflictError(
            f"'{found.reference.id}' on the hub holds what no push wrote: {', '.join(at_stake)}",
            "look at it there; push to another name, or add --overwrite to replace it",
        )
    files = [
        PushedFile(path, _state(file, remote.get(path)), file.size, file.sha256) for path, file in outgoing.items()
    ]
    others = sorted(remote.keys() - outgoing.keys())
    return (*files, *(PushedFile(path, State.REMOVED if path in earlier else State.LEFT) for path in others))


def _state(file: Outgoing, remote: RemoteFile | None) -> State:
    if remote is None:
        return State.NEW
    return State.SAME if file.is_there(remote) else State.CHANGED


def _is_there(file: Outgoing | None, remote: RemoteFile | None) -> bool:
    return file is not None and file.is_there(remote)


def _pushed_before(found: Repository, log: Log) -> dict[str, str]:
    """Return path -> sha256 of what the last push wrote; nothing where somebody else wrote the list that is there."""
    folder = found.read([SUMS], log)
    is_ours = (folder / SUMS).read_bytes().startswith(_MARK.encode())
    return read_sums(folder) if is_ours else {}


def _changed_by_hand(
    found: Repository, earlier: Mapping[str, str], outgoing: Mapping[str, Outgoing], log: Log
) -> list[str]:
    """Return files that a push wrote and somebody changed since; small ones are fetched to see that."""
    changed, unsure = [], []
    for path, digest in earlier.items():
        remote = found.files.get(path)
        if remote is None or _is_there(outgoing.get(path), remote):
            continue
        if remote.sha256 is None:
            unsure.append(path)
        elif remote.sha256 != digest:
            changed.append(path)
    folder = found.read(unsure, log) if unsure else Path()
    return changed + [path for path in unsure if sha256_of(folder / path) != earlier[path]]
