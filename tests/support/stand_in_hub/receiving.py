"""What the stand-in hub does with what is sent to it: new repositories, large files, commits."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

import yaml

from support.stand_in_hub.answers import Answer, as_json, refuse
from support.stand_in_hub.asks import Ask
from support.stand_in_hub.repositories import Repository, RepositoryStore, StoredRepository

#: The namespace of somebody else, in which nobody may make anything.
FOREIGN = "somebody-else"


class Receiver:
    """Takes what a client with write access sends."""

    def __init__(self, store: RepositoryStore, endpoint: str, cdn_endpoint: str) -> None:
        self._store = store
        self._endpoint = endpoint
        self._cdn = cdn_endpoint

    def create(self, ask: Ask) -> Answer:
        """Make an empty repository."""
        wanted = json.loads(ask.body)
        name = f"{wanted['organization']}/{wanted['name']}"
        if wanted["organization"] == FOREIGN:
            return refuse(403, f'You don\'t have the rights to create a model under the namespace "{FOREIGN}"')
        if self._store.find("models", name) is not None:
            return refuse(409, "You already created this model repo")
        self._store.add(
            Repository(
                "models",
                name,
                {".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"},
                private=wanted.get("visibility") == "private",
            )
        )
        return as_json({"url": f"{self._endpoint}/{name}", "name": name})

    def validate(self, ask: Ask) -> Answer:
        """Look at the front matter of a README.md."""
        found = re.match(r"---\n(.*?)\n---", json.loads(ask.body)["content"], re.DOTALL)
        try:
            tree = yaml.safe_load(found[1]) if found else None
        except yaml.YAMLError as error:
            return Answer(400, json.dumps({"errors": [{"message": str(error)}], "warnings": []}).encode())
        warnings = [] if tree else [{"message": "empty or missing yaml metadata in repo card"}]
        return as_json({"errors": [], "warnings": warnings})

    def plan(self, ask: Ask, stored: StoredRepository) -> Answer:
        """Say which files go to large storage, and what is there in their places."""
        head = stored.resolve("main")
        assert head is not None
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if self._store.is_large(file["path"], file["size"]) else "regular",
                "shouldIgnore": False,
                **({"oid": there.etag} if (there := head.files.get(file["path"])) else {}),
            }
            for file in json.loads(ask.body)["files"]
        ]
        return as_json({"files": files})

    def offer(self, ask: Ask, stored: StoredRepository) -> Answer:
        """Say where large files are to be put; nowhere, where they are known."""
        objects: list[Mapping[str, Any]] = []
        for wanted in json.loads(ask.body)["objects"]:
            actions = {
                "upload": {"href": f"{self._cdn}/upload/{wanted['oid']}"},
                "verify": {"href": f"{self._endpoint}/{stored.id}.git/info/lfs/verify"},
            }
            known = self._store.holds(wanted["oid"])
            objects.append({**wanted, **({} if known else {"actions": actions})})
        return as_json({"transfer": "basic", "objects": objects})

    def keep(self, ask: Ask) -> Answer:
        """Keep a large file under its sha256."""
        if not self._store.keep(ask.file, ask.body):
            return refuse(400, "The content has another sha256")
        return Answer(200)

    def verify(self, ask: Ask) -> Answer:
        """Say whether a large file came."""
        return as_json({}) if self._store.holds(json.loads(ask.body)["oid"]) else refuse(404, "No such object")

    def commit(self, ask: Ask, stored: StoredRepository) -> Answer:
        """Put a commit on a branch, on top of the one that the client saw."""
        changes: dict[str, bytes | None] = {}
        title, parent = "", None
        for line in filter(None, ask.body.split(b"\n")):
            part = json.loads(line)
            value = part["value"]
            if part["key"] == "header":
                title, parent = value["summary"], value.get("parentCommit")
            elif part["key"] == "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            elif part["key"] == "lfsFile":
                changes[value["path"]] = self._store.read_kept(value["oid"])
            elif part["key"] == "deletedFile":
                changes[value["path"]] = None
        head = stored.resolve(ask.revision)
        if parent is not None and (head is None or head.sha != parent):
            return refuse(412, "A commit has happened since. Please refresh and try again.")
        commit = self._store.commit(stored.kind, stored.id, changes, title, ask.revision)
        place = f"{self._endpoint}/{stored.id}/commit/{commit}"
        return as_json({"success": True, "commitOid": commit, "commitUrl": place})
