"""Every way in which the hub can fail: words and remedy of its own, and never something else in the place of the model.

Only `hub_unavailable` lets a starter stand in, so no answer of a hub may end with that code.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune30.ui.messages import translate_message
from support.hub_user import HubUser, Told
from support.stand_in_hub import TOKEN, Repository, StandInHub, faults, link_folder

pytestmark = pytest.mark.integration

MODEL, SET = "distilbert/distilbert-base-uncased", "nyu-mll/glue"
#: fault, code, words of the message, words of the remedy; for whatever is asked of the hub first.
ANSWERS = {
    "token refused": (faults.unauthorized(), "hub_access_denied", "does not accept the token", "hf auth login"),
    "forbidden": (faults.forbidden(), "hub_access_denied", "does not let this token read", "read access"),
    "no repository": (faults.repository_missing(), "hub_not_found", "on the hub", "HF_TOKEN"),
    "no revision": (faults.revision_missing(), "hub_not_found", "has no revision", "null for the newest"),
    "too many, soon": (faults.too_many_requests(7), "hub_busy", "429", "try again in 7 s"),
    "too many, late": (faults.too_many_requests(280), "hub_busy", "429", "try again in 280 s"),
    "too many, proxy": (faults.too_many_requests(9, hub_headers=False), "hub_busy", "429", "try again in 9 s"),
    "too many, mute": (
        faults.too_many_requests(hub_headers=False, retry_after=False), "hub_busy", "429", "try again later",
    ),
    "500": (faults.server_error(500), "hub_fault", "answers 500", "try again later"),
    "502": (faults.server_error(502), "hub_fault", "answers 502", "try again later"),
    "503": (faults.server_error(503), "hub_fault", "answers 503", "try again later"),
    "login page": (faults.CaptivePage(), "hub_fault", "is not the hub", "log in to this network"),
    "login page behind": (faults.CaptivePage(redirects=True), "hub_fault", "is not the hub", "log in to this network"),
}  # fmt: skip
ASKED_AGAIN = {"too many, soon", "too many, proxy", "too many, mute", "500", "502", "503"}


@pytest.fixture(scope="module")
def user_variables() -> dict[str, str]:
    """A hub that hangs is left after two seconds."""
    return {"HF_HUB_ETAG_TIMEOUT": "2"}


def fetch(user: HubUser, kind: str, home: Path, **variables: str) -> Told:
    if kind == "model":
        return in_both_languages(user.fetch_model(home, "distilbert-base-uncased", **variables))
    return in_both_languages(user.load_set(home, "glue", "sst2", **variables))


def in_both_languages(told: Told) -> Told:
    """Return what was told when the page can say it in Chinese too."""
    if told.code:
        assert translate_message("zh", told.message), told.message
        assert translate_message("zh", told.remedy), told.remedy
    return told


@pytest.mark.parametrize("kind", ["model", "set"])
@pytest.mark.parametrize("fault", ANSWERS)
def test_an_answer_that_is_a_fault_is_said_by_its_kind(at_hub, tmp_path, kind, fault):
    hub, user = at_hub
    planned, code, message, remedy = ANSWERS[fault]
    hub.fail(planned)
    told = fetch(user, kind, tmp_path)
    assert told.code == code
    assert message in told.message
    assert remedy in told.remedy
    assert bool(told.waits) == (fault in ASKED_AGAIN)
    assert told.may_retry == (code in ("hub_busy", "hub_fault"))
    hub.mend()
    assert fetch(user, kind, tmp_path).code == ""


@pytest.mark.parametrize("kind", ["model", "set"])
@pytest.mark.parametrize("fault", [name for name, case in ANSWERS.items() if case[1] in ("hub_busy", "hub_fault")])
def test_what_is_cached_serves_while_the_hub_stumbles_and_that_is_said(at_hub, tmp_path, kind, fault):
    hub, user = at_hub
    first = fetch(user, kind, tmp_path)
    hub.fail(ANSWERS[fault][0])
    told = fetch(user, kind, tmp_path)
    assert told.value == first.value
    assert any(line.startswith("WARNING: ") and "using what is cached" in line for line in told.log)


@pytest.mark.parametrize("kind", ["model", "set"])
@pytest.mark.parametrize("fault", ["token refused", "forbidden", "no repository"])
def test_what_the_hub_does_not_give_any_more_is_not_taken_from_the_cache_unasked(at_hub, tmp_path, kind, fault):
    hub, user = at_hub
    first = fetch(user, kind, tmp_path)
    hub.fail(ANSWERS[fault][0])
    assert fetch(user, kind, tmp_path).code == ANSWERS[fault][1]
    if kind == "model":  # a commit that is named is what was asked for, wherever it comes from
        assert user.fetch_model(tmp_path, "distilbert-base-uncased", first.value["commit"]).value == first.value


@pytest.mark.parametrize("kind", ["model", "set"])
def test_a_hub_that_stumbles_once_is_asked_again(at_hub, tmp_path, kind):
    hub, user = at_hub
    hub.fail(faults.too_many_requests(30), times=1)
    told = fetch(user, kind, tmp_path)
    assert told.code == ""
    assert told.waits[0] == 30
    assert any("asking again in 30 s" in line for line in told.log)


@pytest.mark.parametrize("kind", ["model", "set"])
@pytest.mark.parametrize("fault", [faults.HangUp(), faults.Delay(600)])
def test_a_hub_that_says_nothing_is_out_of_reach(at_hub, tmp_path, kind, fault):
    hub, user = at_hub
    hub.fail(fault)
    told = fetch(user, kind, tmp_path)
    assert told.code == "hub_unavailable"
    assert "is not cached on this machine and the hub cannot be reached" in told.message
    assert fetch(user, kind, tmp_path, HF_HUB_OFFLINE="1").message.endswith("HF_HUB_OFFLINE is set")


@pytest.mark.parametrize(
    ("name", "code", "message", "remedy"),
    [
        ("stand-in/private-model", "hub_not_found", "on the hub", "a private one needs HF_TOKEN"),
        ("stand-in/gated-model", "hub_access_denied", "is gated on the hub", "ask for access at http"),
        ("stand-in/disabled-model", "hub_access_denied", "has been disabled", "choose another model"),
        ("no-such-model", "hub_not_found", "'no-such-model' is neither a folder here nor a model", "check model.name"),
        ("no/such-model", "hub_not_found", "'no/such-model' is neither", "check model.name"),
        ("what a name?", "hub_not_found", "nor a name that the hub can have", "namespace/name"),
    ],
)
def test_models_that_a_visitor_may_not_have(at_hub, tmp_path, name, code, message, remedy):
    told = in_both_languages(at_hub[1].fetch_model(tmp_path, name))
    assert (told.code, told.may_retry) == (code, False)
    assert message in told.message
    assert remedy in told.remedy


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("stand-in/private-rows", "hub_not_found"),
        ("stand-in/gated-rows", "hub_access_denied"),
        ("stand-in/disabled-rows", "hub_access_denied"),
        ("no-such-set", "hub_not_found"),
    ],
)
def test_sets_that_a_visitor_may_not_have(at_hub, tmp_path, name, code):
    assert in_both_languages(at_hub[1].load_set(tmp_path, name)).code == code


@pytest.mark.parametrize("name", ["stand-in/private-model", "stand-in/gated-model"])
def test_a_token_opens_what_it_may(at_hub, tmp_path, name):
    user = at_hub[1]
    assert user.fetch_model(tmp_path, name, HF_TOKEN=TOKEN).code == ""
    assert user.fetch_model(tmp_path / "else", name, HF_TOKEN="hf_of_nobody").code != ""


def test_a_revision_that_does_not_exist_is_named(at_hub, tmp_path):
    told = in_both_languages(at_hub[1].fetch_model(tmp_path, "distilbert-base-uncased", "v9"))
    assert (told.code, told.message) == (
        "hub_not_found",
        "model 'distilbert-base-uncased' has no revision 'v9' on the hub",
    )
    assert "model.revision" in told.remedy


@pytest.mark.parametrize("kind", ["model", "set"])
def test_a_download_that_is_cut_is_taken_up_where_it_stopped(at_hub, tmp_path, kind):
    hub, user = at_hub
    name = MODEL if kind == "model" else "stand-in/wide-rows"
    large = "model.safetensors" if kind == "model" else "train.csv"
    if kind == "set":
        hub.add(_wide_set(name))
    hub.fail(faults.CutBody(after_bytes=100_000), file=large, times=1)
    told = user.fetch_model(tmp_path, name) if kind == "model" else user.load_set(tmp_path, name)
    assert told.code == "", told.message
    assert any("resume" in line for line in told.log)
    assert [request.range for request in hub.requests if request.range] == [f"bytes={1 << 16}-"]


def _wide_set(name: str) -> Repository:
    rows = "".join(f"{'words ' * 40}{number},{number % 2}\n" for number in range(1_000))
    return Repository("datasets", name, {"train.csv": f"text,label\n{rows}".encode()})


@pytest.mark.parametrize("kind", ["model", "set"])
@pytest.mark.parametrize("fault", [faults.CutBody(after_bytes=0), faults.WrongLength(by=40)])
def test_a_download_that_breaks_off_says_how_far_it_came_and_leaves_nothing_half_used(at_hub, tmp_path, kind, fault):
    hub, user = at_hub
    large = "model.safetensors" if kind == "model" else "sst2/train-00000-of-00001.parquet"
    hub.fail(fault, file=large)
    told = fetch(user, kind, tmp_path)
    assert told.code == "hub_download_broke_off"
    assert "broke off after" in told.message
    assert "complete are kept" in told.remedy
    assert fetch(user, kind, tmp_path, HF_HUB_OFFLINE="1").code == "hub_unavailable"
    assert not list(tmp_path.rglob("*.incomplete"))
    hub.mend()
    hub.forget_requests()
    assert fetch(user, kind, tmp_path).code == ""
    sent = {r.file for r in hub.requests if r.method == "GET" and r.action in ("resolve", "cdn") and r.status == 200}
    assert large in sent
    assert "config.json" not in sent  # it had come whole before
    assert "README.md" not in sent


@pytest.mark.parametrize("kind", ["model", "set"])
def test_other_bytes_than_the_hub_lists_are_refused_and_removed(at_hub, tmp_path, kind):
    hub, user = at_hub
    hub.fail(faults.WrongContent(), action="cdn", times=1)
    told = fetch(user, kind, tmp_path)
    assert told.code == "hub_fault"
    assert "is not what the hub lists; it was removed" in told.message
    assert fetch(user, kind, tmp_path).code == ""


@pytest.mark.parametrize("kind", ["model", "set"])
@pytest.mark.parametrize("fault", ["login page", "500", "forbidden", "no repository"])
def test_a_fault_that_begins_in_the_middle_is_said_by_its_kind(at_hub, tmp_path, kind, fault):
    hub, user = at_hub
    planned, code, message, _ = ANSWERS[fault]
    hub.fail(planned, action="resolve")
    told = fetch(user, kind, tmp_path)
    assert told.code == code
    assert message in told.message


def test_a_slow_download_tells_of_every_part(at_hub, tmp_path):
    hub, user = at_hub
    hub.fail(faults.Trickle(part_bytes=20_000, pause_seconds=0.3), file="model.safetensors")
    told = user.fetch_model(tmp_path, "distilbert-base-uncased")
    assert told.code == ""
    assert len({done for done, _ in told.transfers}) > 3


def test_a_hub_that_goes_away_in_the_middle(at_hub, tmp_path, hub_contents):
    folder = tmp_path / "hub"
    with StandInHub(link_folder(hub_contents, folder)) as hub:
        user = HubUser(hub.environment(tmp_path / "home"))
        hub.fail(faults.CutBody(after_bytes=100), file="model.safetensors", times=1)
        hub.fail(faults.HangUp(), file="model.safetensors")
        told = user.fetch_model(tmp_path / "cache", "distilbert-base-uncased")
        assert told.code == "hub_download_broke_off"
        hub.stop()
        assert user.fetch_model(tmp_path / "cache", "distilbert-base-uncased").code == "hub_unavailable"
        user.close()
