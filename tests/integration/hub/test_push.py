"""`ft30 push` against the stand-in hub: one commit that holds what was sent, no path, no row; nobody's work lost."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from support.fork_server import Ended, ForkServer
from support.stand_in_hub import TOKEN, TOKEN_WITHOUT_ACCESS, StandInHub, faults, link_folder
from support.stand_in_hub.receiving import FOREIGN

pytestmark = pytest.mark.integration

BASE = "distilbert/distilbert-base-uncased"
ADAPTER = {"adapter_config.json", "adapter_model.safetensors", "labels.json", "tokenizer.json", "tokenizer_config.json"}


class Lab:
    """Runs of a hub's model and of a local one, in a folder of their own, and commands there."""

    def __init__(self, hub: StandInHub, server: ForkServer, folder: Path) -> None:
        self.hub, self.folder = hub, folder
        self._server = server
        rows = [f"the food was {word} {number},{word}" for number in range(20) for word in ("great", "awful")]
        (folder / "private-rows.csv").write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
        (folder / "own-base").mkdir()
        for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"):
            (folder / "own-base" / name).write_bytes(hub.content("models", BASE, name))
        for name, model, seed in (("first", BASE, 1), ("second", BASE, 2), ("local", "own-base", 1)):
            self.train(name, model, seed)

    def train(self, name: str, model: str, seed: int) -> None:
        tree = {
            "experiment_name": name,
            "model": {"name": model},
            "data": {"dataset_name": str(self.folder / "private-rows.csv"), "max_length": 16},
            "training": {"max_steps": 2, "seed": seed, "device": "cpu", "precision": "fp32"},
        }
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
        self.done("train", "--config", f"{name}.yaml")

    def ft30(self, *arguments: str, token: str = TOKEN, **variables: str) -> Ended:
        settings = {**self.hub.variables(self.folder / "home"), "HF_TOKEN": token, **variables}
        return self._server.run(*arguments, cwd=self.folder, **settings)

    def done(self, *arguments: str, **options: str) -> Ended:
        ended = self.ft30(*arguments, **options)
        assert ended.returncode == 0, ended.stderr
        return ended

    def push(self, *arguments: str) -> dict[str, object]:
        return json.loads(self.done("push", *arguments, "--json").stdout)

    def refused(self, *arguments: str, **options: str) -> str:
        """Run a push that must be refused, and send nothing; return what was said."""
        ended = self.ft30("push", *arguments, **options)
        assert ended.returncode in (1, 2), ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr
        assert self.commits() == []
        return ended.stderr

    def run_id(self, name: str) -> str:
        """Return the first letters of a run's id, as messages name it."""
        return str(json.loads(self.done("runs", "show", name, "--json").stdout)["run"]["id"])[:8]

    def pushes_on_record(self) -> list[str]:
        """Return the targets of the pushes on the audit trail, the newest first."""
        entries = json.loads(self.done("audit", "--json").stdout)["entries"]
        return [entry["target"] for entry in entries if entry["action"] == "run.push"]

    def commits(self) -> list[str]:
        return [request.repo for request in self.hub.requests if request.action == "commit" and request.status == 200]


@pytest.fixture(scope="module")
def lab_of_module(
    hub_contents: Path, hub_user_server: ForkServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("push")
    with StandInHub(link_folder(hub_contents, folder / "hub")) as hub:
        (folder / "work").mkdir()
        yield Lab(hub, hub_user_server, folder / "work")


@pytest.fixture
def lab(lab_of_module: Lab) -> Lab:
    lab_of_module.hub.mend()
    lab_of_module.hub.forget_requests()
    return lab_of_module


def states(push: dict[str, object]) -> dict[str, str]:
    return {file["path"]: file["state"] for file in push["files"]}  # type: ignore[attr-defined]


def sums(hub: StandInHub, name: str) -> dict[str, str]:
    _, *lines = hub.content("models", name, "SHA256SUMS").decode().splitlines()
    return {path: digest for digest, path in (line.split("  ") for line in lines)}


def test_a_dry_run_sends_nothing_and_the_push_sends_just_that(lab: Lab) -> None:
    planned = lab.push("first", "team/reviews", "--dry-run")
    assert {request.method for request in lab.hub.requests} <= {"GET", "HEAD"}
    assert planned["commit"] is None
    told = lab.done("push", "first", "team/reviews", "--dry-run").stdout
    assert f"nothing was sent: a new private repository {lab.hub.endpoint}/team/reviews" in told

    sent = lab.push("first", "team/reviews")
    assert sent["files"] == planned["files"]
    assert set(states(sent)) == {*ADAPTER, "README.md", "SHA256SUMS"}
    assert set(states(sent).values()) == {"new"}
    assert sent["commit"] == lab.hub.sha("models", "team/reviews")
    assert lab.commits() == ["team/reviews"]
    for path, digest in sums(lab.hub, "team/reviews").items():
        assert hashlib.sha256(lab.hub.content("models", "team/reviews", path)).hexdigest() == digest
    (trail,) = lab.pushes_on_record()
    assert trail.endswith(f" to team/reviews@{sent['commit']}")

    lab.hub.forget_requests()
    again = lab.push("first", "team/reviews")
    assert (set(states(again).values()), again["commit"]) == ({"same"}, sent["commit"])
    assert lab.commits() == []


def test_what_is_there_names_its_base_and_nothing_of_this_machine(lab: Lab) -> None:
    lab.push("first", "team/loaded", "--public")
    every = b"".join(lab.hub.content("models", "team/loaded", path) for path in lab.hub.files("models", "team/loaded"))
    assert os.fsencode(lab.folder) not in every
    assert b"the food was" not in every
    card = lab.hub.content("models", "team/loaded", "README.md").decode()
    assert f"base_model: {BASE}\n" in card
    assert 'from_pretrained("team/loaded"' in card
    script = (
        "from peft import AutoPeftModelForSequenceClassification as A\n"
        "model = A.from_pretrained('team/loaded', num_labels=2)\n"
        "print(sorted(model.peft_config['default'].target_modules))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", script],
        env=lab.hub.environment(lab.folder / "elsewhere"),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert loaded.returncode == 0, loaded.stderr
    assert "lin" in loaded.stdout


def test_a_later_run_takes_the_place_and_what_others_put_there_stays(lab: Lab) -> None:
    lab.push("first", "team/kept")
    listed = (
        lab.hub.content("models", "team/kept", "SHA256SUMS")
        + b"%s  old.json\n" % hashlib.sha256(b"{}").hexdigest().encode()
    )
    lab.hub.commit("models", "team/kept", {"old.json": b"{}", "SHA256SUMS": listed, "notes.md": b"ours"})
    sent = states(lab.push("second", "team/kept"))
    assert (sent["adapter_model.safetensors"], sent["tokenizer.json"]) == ("changed", "same")
    assert (sent["old.json"], sent["notes.md"]) == ("removed", "left")
    assert "old.json" not in lab.hub.files("models", "team/kept")
    assert lab.hub.content("models", "team/kept", "notes.md") == b"ours"

    lab.hub.commit("models", "team/kept", {"README.md": b"# Written by hand\n"})
    lab.hub.forget_requests()
    assert "holds what no push wrote: README.md" in lab.refused("first", "team/kept")
    lab.push("first", "team/kept", "--overwrite")
    assert lab.hub.content("models", "team/kept", "README.md").startswith(b"---\nbase_model")


def test_a_repository_of_somebody_is_not_written_over(lab: Lab) -> None:
    assert "holds what no push wrote: " in lab.refused("first", "stand-in/chat-model", "--public")
    lab.push("first", "team/open", "--public")
    lab.hub.forget_requests()
    told = lab.refused("second", "team/open")
    assert "'team/open' is public" in told
    assert "--public" in told
    lab.push("second", "team/open", "--public")


def test_a_list_that_somebody_else_wrote_makes_nothing_ours(lab: Lab) -> None:
    lab.push("first", "team/by-hand")
    _, _, listed = lab.hub.content("models", "team/by-hand", "SHA256SUMS").partition(b"\n")
    listed += b"%s  weights.bin\n" % hashlib.sha256(b"theirs").hexdigest().encode()
    lab.hub.commit("models", "team/by-hand", {"SHA256SUMS": listed, "weights.bin": b"theirs"})
    lab.hub.forget_requests()
    told = lab.refused("second", "team/by-hand")
    assert "holds what no push wrote: " in told
    assert "SHA256SUMS" in told
    replaced = states(lab.push("second", "team/by-hand", "--overwrite"))
    assert (replaced["SHA256SUMS"], replaced["weights.bin"]) == ("changed", "left")


@pytest.mark.parametrize(
    ("name", "token", "said"),
    [
        ("team/new", "", "there is no token of the hub"),
        ("team/new", "hf_of_nobody", "does not accept the token"),
        (f"{FOREIGN}/new", TOKEN, "does not let this token write"),
        ("team/reviews", TOKEN_WITHOUT_ACCESS, "which this token cannot see"),
        ("reviews", TOKEN, "a name that the hub can have"),
        ("no name", TOKEN, "a name that the hub can have"),
    ],
)
def test_who_may_not_is_told_why(lab: Lab, name: str, token: str, said: str) -> None:
    if name == "team/reviews":
        lab.push("first", name)
        lab.hub.forget_requests()
    assert said in lab.refused("first", name, token=token)


def test_an_answer_that_is_lost_is_no_second_commit_and_a_faster_one_is_not_run_over(lab: Lab) -> None:
    lab.hub.fail(faults.HangUp(), action="commit", times=1)
    sent = lab.push("first", "team/lost")
    assert sent["commit"] == lab.hub.sha("models", "team/lost")
    assert len([request for request in lab.hub.requests if request.action == "commit"]) == 1
    lab.hub.forget_requests()
    lab.hub.fail(faults.Refusal(412, "A commit has happened since."), action="commit")
    assert "somebody else changed it" in lab.refused("second", "team/lost")
    lab.hub.mend()
    lab.hub.fail(faults.Refusal(500, "Internal Server Error"), action="commit")
    assert "500" in lab.refused("second", "team/lost")


@pytest.mark.parametrize("status", [504, 503, 412])
def test_a_commit_that_went_through_is_done_whatever_a_proxy_answers_instead(lab: Lab, status: int) -> None:
    name = f"team/answered-{status}"
    lab.hub.fail(faults.AnsweredOtherwise(status), action="commit", times=1)
    sent = lab.push("first", name)
    assert sent["commit"] == lab.hub.sha("models", name)
    assert lab.pushes_on_record()[0].endswith(f" to {name}@{sent['commit']}")


def test_a_fault_after_the_commit_is_on_the_audit_trail_all_the_same(lab: Lab) -> None:
    lab.push("first", "team/late")
    lab.hub.forget_requests()
    lab.hub.fail(faults.Refusal(500, "Internal Server Error"), action="tree", when=lambda: bool(lab.commits()))
    ended = lab.ft30("push", "second", "team/late")
    assert ended.returncode == 1, ended.stdout
    lab.hub.mend()
    assert lab.pushes_on_record()[0].endswith(f" to team/late@{lab.hub.sha('models', 'team/late')}")


def test_public_is_said_to_change_nothing_of_a_repository_that_is_private(lab: Lab) -> None:
    lab.push("first", "team/closed")
    told = lab.done("push", "second", "team/closed", "--public")
    assert "team/closed is private on the hub and stays so" in told.stderr
    assert "(private)" in told.stdout


def test_without_the_hub_a_dry_run_tells_the_files_and_a_push_says_so(lab: Lab) -> None:
    planned = json.loads(lab.done("push", "first", "team/away", "--dry-run", "--json", HF_HUB_OFFLINE="1").stdout)
    assert set(states(planned).values()) == {"unknown"}
    assert "HF_HUB_OFFLINE is set" in lab.refused("first", "team/away", HF_HUB_OFFLINE="1")


@pytest.fixture(scope="module")
def merged(lab_of_module: Lab) -> str:
    lab_of_module.done("export", "local", "--as", "merged", "--output", "merged")
    return "merged"


def test_a_base_of_no_hub_goes_merged(lab: Lab, merged: str) -> None:
    told = lab.refused("local", "team/local")
    assert "is of no hub" in told
    assert f"merge them (ft30 export {lab.run_id('local')} --as merged)" in told
    sent = lab.push("local", "team/local", "--export", merged)
    assert {"model.safetensors", "receipt.json", "labels.json", "README.md"} <= states(sent).keys()
    card = lab.hub.content("models", "team/local", "README.md").decode()
    assert card.startswith("---\nlibrary_name: transformers\npipeline_tag: text-classification\n")
    assert 'from_pretrained("team/local")' in card
    assert os.fsencode(lab.folder) not in lab.hub.content("models", "team/local", "receipt.json")


@pytest.mark.parametrize(
    ("change", "run", "said"),
    [
        (lambda folder: (folder / "rows.csv").write_text("text\n"), "local", "no export wrote 'rows.csv'"),
        (lambda folder: (folder / "receipt.json").unlink(), "local", "is no export"),
        (lambda folder: None, "first", "is an export of run"),
    ],
)
def test_only_what_was_measured_leaves(
    lab: Lab, merged: str, tmp_path: Path, change: Callable[[Path], object], run: str, said: str
) -> None:
    subprocess.run(["cp", "-r", str(lab.folder / merged), str(tmp_path / "copy")], check=True)
    change(tmp_path / "copy")
    assert said in lab.refused(run, "team/none", "--export", str(tmp_path / "copy"))


def test_a_damaged_export_is_made_again(lab: Lab, merged: str) -> None:
    (lab.folder / merged / "config.json").write_text("{}")
    told = lab.refused("local", "team/again", "--export", merged)
    assert "is damaged: config.json" in told
    assert "make the export again, with --overwrite" in told
    lab.done("export", "local", "--as", "merged", "--output", merged, "--overwrite")
    lab.push("local", "team/again", "--export", merged)


def test_a_card_that_the_hub_does_not_take_is_named(lab: Lab) -> None:
    lab.hub.fail(faults.Refusal(400, "base_model is no name"), action="validate")
    assert "the hub does not take README.md" in lab.refused("first", "team/card")
