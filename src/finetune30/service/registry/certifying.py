"""The parity certificate of a version: made when it is registered, repeated when it is verified or served.

`serving_reference.parquet` beside version.json holds the rows that were asked and what the serving path made of them;
its sha256 stands in the certificate, and the certificate in the row of the version.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune30.errors import SelfTestError, StorageError
from finetune30.files import encode_json, save_bytes_atomic, sha256_of
from finetune30.service.runs.details import require_intact_model, require_model
from finetune30.service.runs.kept_copies import version_folder
from finetune30.service.runs.open_records import Records
from finetune30.store.model_records import ModelVersion, VersionState
from finetune30.store.model_registry import settle_version

if TYPE_CHECKING:
    import polars as pl

    from finetune30.data.versions.storage import VersionStore
    from finetune30.service.parity.checking import Served
    from finetune30.service.parity.found import Found
    from finetune30.store import RunFolder
    from finetune30.training.saved_engine import SavedEngines

REFERENCE = "serving_reference.parquet"
CERTIFICATE = "certificate.json"


def certify_version(records: Records, version: ModelVersion, versions: VersionStore, *, actor: str) -> ModelVersion:
    """Check that a version answers as its run did, and return it READY, with its certificate.

    One that has a certificate is held against its serving reference again. Raises SelfTestError, naming every fault,
    for a version that answers otherwise: it is REFUSED then if it was being registered. Where it cannot be asked at
    all (its base model is gone, say) it stays as it is, and the error tells why.
    """
    if version.state is VersionState.REFUSED:
        raise _refused(version, (version.certificate or {}).get("faults") or [])
    served = load_served(records, version)
    if version.certificate is not None:
        require_parity(version, served.repeat(load_reference(records, version)))
        return version
    return _certify(records, version, served, versions, actor)


def load_served(records: Records, version: ModelVersion, engines: SavedEngines | None = None) -> Served:
    """Load the model of a version in the path that serves, from its copy where its run's folder is gone.

    `engines`: see `Served`. Raises StorageError (also where the run's folder holds another model than the version was
    made of), ModelError, HubError.
    """
    from finetune30.service.parity.checking import Served

    run = require_model(records.store.get(version.run_id))
    if (folder := records.folder(run)).path.is_dir():
        _require_own_manifest(folder, version)
    return Served(require_intact_model(records, run), engines)


def load_reference(records: Records, version: ModelVersion) -> pl.DataFrame:
    """Return the serving reference of a version. Raises StorageError where it is not the one of the certificate."""
    import polars as pl

    path = _folder(records, version) / REFERENCE
    wanted = (version.certificate or {}).get("reference") or {}
    if not path.is_file() or sha256_of(path) != wanted.get("sha256"):
        raise StorageError(
            f"{version.name}: {REFERENCE} is missing, or not the one of its certificate",
            "take the files from a backup, or register the run again under another name",
        )
    return pl.read_parquet(path)


def require_parity(version: ModelVersion, found: Found) -> None:
    """Raise SelfTestError where a version answers otherwise than its serving reference says."""
    if found.faults:
        raise _refused(version, found.faults)


def _certify(
    records: Records, version: ModelVersion, served: Served, versions: VersionStore, actor: str
) -> ModelVersion:
    from finetune30.service.parity.checking import describe_certificate

    run = records.store.get(version.run_id)
    referred = served.refer(run, records.require_folder(run), versions)
    buffer = io.BytesIO()
    referred.rows.write_parquet(buffer)
    content, folder = buffer.getvalue(), _folder(records, version)
    digest = hashlib.sha256(content).hexdigest()
    certificate = dict(describe_certificate(served, referred.found, digest, referred.rows.height))

    def save_files() -> None:
        save_bytes_atomic(folder / REFERENCE, content)
        save_bytes_atomic(folder / CERTIFICATE, encode_json(certificate))

    if (
        referred.found.faults and version.state is VersionState.READY
    ):  # it was registered before there were certificates
        raise _refused(version, referred.found.faults)
    state = VersionState.REFUSED if referred.found.faults else VersionState.READY
    settled = settle_version(records.store, version.model, version.number, state, certificate, save_files, actor=actor)
    if referred.found.faults:
        raise _refused(version, referred.found.faults)
    return settled


def _require_own_manifest(folder: RunFolder, version: ModelVersion) -> None:
    """Raise StorageError where a run published something else than the version was made of."""
    if not folder.manifest.is_file() or sha256_of(folder.manifest) != version.manifest_sha256:
        raise StorageError(
            f"{version.name}: manifest.json of its run is missing, or not the one that it was registered with",
            "take the run's folder from a backup, or register the run again under another name",
        )


def _folder(records: Records, version: ModelVersion) -> Path:
    return version_folder(records.results_root, version.model, version.number)


def _refused(version: ModelVersion, faults: list[Any]) -> SelfTestError:
    return SelfTestError(
        f"{version.name} does not answer as it was trained: {'; '.join(map(str, faults))}",
        f"see how it was made: ft30 models card {version.name}; then train again with its run's config.yaml",
    )
