"""Files, folders and references in the words of the hub's API."""

from __future__ import annotations

from typing import Any

from support.stand_in_hub.repositories import Commit, StoredFile, StoredRepository, git_oid


def describe_sibling(file: StoredFile, *, with_blobs: bool) -> dict[str, Any]:
    described: dict[str, Any] = {"rfilename": file.path}
    if with_blobs:
        described |= {"size": file.size, "blobId": file.oid}
        if file.pointer_size is not None:
            described["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": file.pointer_size}
    return described


def describe_file(file: StoredFile, commit: Commit, *, expand: bool) -> dict[str, Any]:
    described: dict[str, Any] = {"type": "file", "oid": file.oid, "size": file.size, "path": file.path}
    if file.pointer_size is not None:
        described["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": file.pointer_size}
    if expand:
        scan = {"status": "safe", "avScan": {"status": "safe"}, "pickleImportScan": None}
        described |= {"lastCommit": _describe_commit(commit), "securityFileStatus": scan}
    return described


def describe_folder(path: str, commit: Commit, *, expand: bool) -> dict[str, Any]:
    inside = [(file.path, file.oid) for file in commit.files.values() if file.path.startswith(f"{path}/")]
    described: dict[str, Any] = {"type": "directory", "oid": git_oid("tree", repr(inside).encode()), "size": 0}
    return {**described, "path": path, **({"lastCommit": _describe_commit(commit)} if expand else {})}


def _describe_commit(commit: Commit) -> dict[str, str]:
    return {"id": commit.sha, "title": commit.title, "date": commit.date}


def describe_refs(stored: StoredRepository, *, with_pull_requests: bool) -> dict[str, Any]:
    def named(prefix: str) -> list[dict[str, str]]:
        return [
            {"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": sha}
            for ref, sha in stored.refs.items()
            if ref.startswith(prefix)
        ]

    listed = {"branches": named("refs/heads/"), "tags": named("refs/tags/"), "converts": named("refs/convert/")}
    return {**listed, **({"pullRequests": named("refs/pr/")} if with_pull_requests else {})}
