"""The hub's protocol without the wire: what a store answers to what somebody asks."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import yaml

from support.stand_in_hub.answers import Answer, as_json, refuse
from support.stand_in_hub.asks import Ask, parse_range
from support.stand_in_hub.descriptions import describe_file, describe_folder, describe_refs, describe_sibling
from support.stand_in_hub.receiving import Receiver
from support.stand_in_hub.repositories import Commit, RepositoryStore, StoredFile, StoredRepository, git_oid

#: Opens every private and gated repository.
TOKEN = "hf_standInTokenThatOpensEverything"
#: Of a known user who is on no list of a gated repository and a member of no private one.
TOKEN_WITHOUT_ACCESS = "hf_standInTokenOfSomebodyElse"

_PAGE_ENTRIES = 1000
_EXPANDED_PAGE_ENTRIES = 50


class Protocol:
    """Answers from a store as the hub would."""

    def __init__(
        self, store: RepositoryStore, endpoint: str, cdn_endpoint: str, *, page_entries: int | None = None
    ) -> None:
        self._store = store
        self._endpoint = endpoint
        self._cdn = cdn_endpoint
        self._page_entries = page_entries
        self._receiver = Receiver(store, endpoint, cdn_endpoint)

    def answer(self, ask: Ask) -> Answer:
        if ask.token not in (None, TOKEN, TOKEN_WITHOUT_ACCESS) and ask.action != "cdn":
            return refuse(401, "Invalid credentials in Authorization header")
        if ask.action == "upload":  # another server, which knows contents only
            return self._receiver.keep(ask)
        if ask.action in ("create", "validate"):
            if ask.token is None:
                return refuse(401, "Invalid username or password.")
            return self._receiver.create(ask) if ask.action == "create" else self._receiver.validate(ask)
        if ask.action == "whoami":
            return as_json({"type": "user", "name": "somebody"}) if ask.token else refuse(401, "Invalid username")
        stored = self._store.find(ask.kind, ask.repo) if ask.kind else None
        if ask.kind is None:
            return refuse(404, "Sorry, we can't find the page you are looking for.")
        if stored is None or (stored.private and ask.token != TOKEN and ask.action != "cdn"):
            return _refuse_repository(ask)
        if ask.repo != stored.id:
            return _redirect(307, ask.path.replace(f"/{quote(ask.repo)}", f"/{stored.id}", 1))
        if stored.disabled:
            return refuse(403, "Access to this resource is disabled.")
        if ask.action in ("preupload", "lfs-batch", "verify", "commit"):
            return self._receive(ask, stored)
        if ask.action == "refs":
            return as_json(describe_refs(stored, with_pull_requests=ask.flag("include_prs")))
        if ask.action == "discussions":
            return as_json({"discussions": [], "count": 0, "start": 0})
        commit = stored.resolve(ask.revision)
        if commit is None:
            return refuse(404, f"Invalid rev id: {ask.revision}", "RevisionNotFound")
        return self._answer_at(ask, stored, commit)

    def _receive(self, ask: Ask, stored: StoredRepository) -> Answer:
        if ask.token != TOKEN:
            return refuse(401, "Invalid username or password.") if ask.token is None else refuse(403, "Forbidden")
        if ask.action == "preupload":
            return self._receiver.plan(ask, stored)
        if ask.action == "lfs-batch":
            return self._receiver.offer(ask, stored)
        return self._receiver.verify(ask) if ask.action == "verify" else self._receiver.commit(ask, stored)

    def _answer_at(self, ask: Ask, stored: StoredRepository, commit: Commit) -> Answer:
        if ask.action == "info":
            return as_json(self._describe(stored, commit, with_blobs=ask.flag("blobs")))
        if ask.action == "tree":
            return self._list_tree(ask, commit)
        if ask.action == "paths-info":
            return _list_paths(ask, commit)
        if stored.gated and ask.token != TOKEN and ask.action == "resolve":
            return _refuse_gated(ask, stored)
        return self._answer_file(ask, stored, commit)

    def _answer_file(self, ask: Ask, stored: StoredRepository, commit: Commit) -> Answer:
        headers = {"X-Repo-Commit": commit.sha}
        file = commit.files.get(ask.file)
        if file is None:
            return refuse(404, "Entry not found", "EntryNotFound", headers)
        headers |= {"Accept-Ranges": "bytes", "ETag": f'"{file.etag}"'}
        if ask.action == "resolve" and file.pointer_size is not None:
            linked = {"X-Linked-ETag": f'"{file.sha256}"', "X-Linked-Size": str(file.size), "Accept-Ranges": "bytes"}
            place = f"{self._cdn}/cdn/{stored.kind}/{stored.id}/{commit.sha}/{quote(ask.file)}"
            return _redirect(302, place, {"X-Repo-Commit": commit.sha, **linked})
        if ask.action == "cdn":
            headers.pop("X-Repo-Commit")  # another server, which knows contents only
        return self._send_file(ask.range, file, headers)

    def _send_file(self, wanted: str | None, file: StoredFile, headers: dict[str, str]) -> Answer:
        headers["Content-Type"] = "application/octet-stream" if file.pointer_size else "text/plain; charset=utf-8"
        stretch = parse_range(wanted, file.size)
        if stretch is None:
            return Answer(200, self._store.read(file), headers, is_content=True)
        start, end = stretch
        if start >= file.size or start > end:
            return refuse(416, "Range not satisfiable", headers={"Content-Range": f"bytes */{file.size}"})
        headers["Content-Range"] = f"bytes {start}-{end}/{file.size}"
        return Answer(206, self._store.read(file, start, end - start + 1), headers, is_content=True)

    def _describe(self, stored: StoredRepository, commit: Commit, *, with_blobs: bool) -> dict[str, Any]:
        card = self._read_card(commit)
        described = {
            "_id": git_oid("repository", stored.id.encode())[:24],
            "id": stored.id,
            "author": stored.id.partition("/")[0],
            "sha": commit.sha,
            "lastModified": commit.date,
            "createdAt": min(known.date for known in stored.commits.values()),
            "private": stored.private,
            "gated": stored.gated,
            "disabled": stored.disabled,
            "downloads": 1000,
            "likes": 10,
            "tags": card.get("tags", []),
            "siblings": [describe_sibling(file, with_blobs=with_blobs) for file in commit.files.values()],
            "usedStorage": sum(file.size for file in commit.files.values()),
            **({"cardData": card} if card else {}),
        }
        if stored.kind == "models":
            described |= {"modelId": stored.id, "library_name": "transformers", "config": self._read_config(commit)}
        return described

    def _read_card(self, commit: Commit) -> dict[str, Any]:
        if "README.md" not in commit.files:
            return {}
        text = self._store.read(commit.files["README.md"]).decode()
        card = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
        return yaml.safe_load(card[1]) or {} if card else {}

    def _read_config(self, commit: Commit) -> dict[str, Any]:
        if "config.json" not in commit.files:
            return {}
        config = json.loads(self._store.read(commit.files["config.json"]))
        return {name: config[name] for name in ("architectures", "model_type", "auto_map") if name in config}

    def _list_tree(self, ask: Ask, commit: Commit) -> Answer:
        below = f"{ask.file}/" if ask.file else ""
        inside = {path: file for path, file in commit.files.items() if path.startswith(below)}
        if below and not inside:
            return refuse(404, f'{ask.file} does not exist on "{ask.revision}"', "EntryNotFound")
        folders = {below + folder for path in inside for folder in _folders_of(path.removeprefix(below))}
        if not ask.flag("recursive"):
            folders = {folder for folder in folders if "/" not in folder.removeprefix(below)}
            inside = {path: file for path, file in inside.items() if "/" not in path.removeprefix(below)}
        expand = ask.flag("expand")
        entries = [describe_folder(folder, commit, expand=expand) for folder in sorted(folders)]
        entries += [describe_file(file, commit, expand=expand) for file in inside.values()]
        return self._page(ask, entries, _EXPANDED_PAGE_ENTRIES if expand else _PAGE_ENTRIES)

    def _page(self, ask: Ask, entries: list[dict[str, Any]], most: int) -> Answer:
        """Answer one page; the next is named by a Link header."""
        limit = int(ask.query.get("limit", [str(self._page_entries or most)])[0])
        start = int(ask.query.get("cursor", ["0"])[0])
        headers = {}
        if start + limit < len(entries):
            kept = "&".join(part for part in urlsplit(ask.path).query.split("&") if not part.startswith("cursor="))
            place = f"{self._endpoint}{urlsplit(ask.path).path}?{kept}&cursor={start + limit}"
            headers["Link"] = f'<{place}>; rel="next"'
        return as_json(entries[start : start + limit], headers)


def _redirect(status: int, place: str, headers: Mapping[str, str] | None = None) -> Answer:
    told = {"Content-Type": "text/plain; charset=utf-8", "Location": place, **(headers or {})}
    return Answer(status, f"Redirecting to {place}".encode(), told)


def _refuse_repository(ask: Ask) -> Answer:
    """Somebody without a token does not learn whether a repository is private or missing."""
    if ask.token is None:
        return refuse(401, "Invalid username or password.", "RepoNotFound")
    return refuse(404, "Repository not found", "RepoNotFound")


def _refuse_gated(ask: Ask, stored: StoredRepository) -> Answer:
    what = f"Access to {stored.kind.removesuffix('s')} {stored.id} is restricted"
    if ask.token is None:
        told = f"{what}. You must have access to it and be authenticated to access it. Please log in."
        return refuse(401, told, "GatedRepo")
    return refuse(403, f"{what} and you are not in the authorized list. Ask for access.", "GatedRepo")


def _folders_of(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def _list_paths(ask: Ask, commit: Commit) -> Answer:
    """Files and folders among the paths asked for; what is not there is left out."""
    if ask.method != "POST":
        return refuse(404, "Sorry, we can't find the page you are looking for.")
    if ask.body.lstrip().startswith(b"{"):
        sent = json.loads(ask.body)
        paths, expand = sent.get("paths", []), bool(sent.get("expand"))
    else:
        form = parse_qs(ask.body.decode())
        paths, expand = form.get("paths", []), form.get("expand", [""])[0].lower() == "true"
    entries = []
    for path in paths:
        if path in commit.files:
            entries.append(describe_file(commit.files[path], commit, expand=expand))
        elif any(known.startswith(f"{path.rstrip('/')}/") for known in commit.files):
            entries.append(describe_folder(path.rstrip("/"), commit, expand=expand))
    return as_json(entries)
