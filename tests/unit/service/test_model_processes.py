"""Who gets an answer when processes are let go; the processes answer at once, without a model."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from finetune30.errors import NotFoundError, ServiceUnavailableError
from finetune30.service.models import model_process
from finetune30.service.models.model_process import ModelProcesses, read_answer
from finetune30.store import RunStatus
from support.patience import wait_until

#: Called like the interpreter: `-m finetune30 answer RUN`. A text that is a path is answered once that file is there.
ANSWERER = """#!{python}
import json, os, pathlib, sys, time
for line in sys.stdin:
    asked = json.loads(line)
    if "texts" not in asked:
        print(json.dumps({{"answer": 1, "prompt_tokens": 3, "text": "on"}}), flush=True)
        continue
    texts = asked["texts"]
    if texts == ["end"]:
        sys.exit(1)
    pathlib.Path("asked").touch()
    while texts[0].startswith("/") and not os.path.exists(texts[0]):
        time.sleep(0.01)
    answers = [{{"text": text, "run": sys.argv[-1], "pid": os.getpid()}} for text in texts]
    print(json.dumps({{"answers": answers}}), flush=True)
"""


@pytest.fixture
def open_models(tmp_path, monkeypatch):
    """Return a function that opens ModelProcesses whose processes need no model."""
    script = tmp_path / "answerer"
    script.write_text(ANSWERER.format(python=sys.executable))
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    opened = []

    def open_with(**options):
        opened.append(ModelProcesses(**options))
        return opened[-1]

    yield open_with
    for models in opened:
        models.close()


def ask(models, run_id, text):
    run = SimpleNamespace(id=run_id, status=RunStatus.SUCCEEDED)
    (answer,) = models.ask(run, [text], None)
    assert (answer["run"], answer["text"]) == (run_id, text)
    return answer["pid"]


def test_questions_to_one_run_go_to_one_process(open_models):
    models = open_models()
    assert ask(models, "a", "one") == ask(models, "a", "two")


def test_another_run_waits_for_the_answer_in_work_and_nobody_is_refused(open_models, tmp_path):
    models, go_on = open_models(most=1), tmp_path / "go on"
    with ThreadPoolExecutor(3) as visitors:
        in_work = visitors.submit(ask, models, "a", str(go_on))
        wait_until((tmp_path / "asked").exists, 30, "the first question is in work")
        waiting = [visitors.submit(ask, models, run_id, "fine") for run_id in ("a", "b")]
        go_on.touch()
        assert in_work.result(240)
        assert all(asked.result(240) for asked in waiting)


def test_process_that_ends_by_itself_is_said_and_replaced(open_models):
    models = open_models()
    ended = ask(models, "a", "one")
    with pytest.raises(ServiceUnavailableError, match="ended"):
        ask(models, "a", "end")
    assert ask(models, "a", "two") != ended


def begin(models, run_id):
    return models.begin_answer(SimpleNamespace(id=run_id, status=RunStatus.SUCCEEDED), {"messages": []})


def test_an_answer_in_work_keeps_its_process_and_others_ask_it_in_between(open_models):
    models = open_models(most=1, idle_seconds=0.05)
    answer = begin(models, "a")
    with ThreadPoolExecutor(1) as visitor:
        waiting = visitor.submit(ask, models, "b", "fine")  # two are more than may be held
        assert [answer.step() for _ in range(3)] == [{"answer": 1, "prompt_tokens": 3, "text": "on"}] * 3
        assert not waiting.done()
        answer.leave()
        assert waiting.result(240)
    with pytest.raises(ServiceUnavailableError):
        answer.step()


def test_a_forgotten_answer_keeps_no_process(open_models, monkeypatch):
    monkeypatch.setattr(model_process, "FORGOTTEN_SECONDS", 0.0)
    models = open_models(most=1)
    answer = begin(models, "a")
    assert ask(models, "b", "fine")
    with pytest.raises(ServiceUnavailableError):
        answer.step()
    answer.leave()


def test_error_of_a_process_is_the_same_error_here():
    with pytest.raises(NotFoundError) as caught:
        read_answer(NotFoundError("no such run", "look again", details={"near": ["b"]}).as_dict())
    assert (caught.value.message, caught.value.remedy, caught.value.details) == (
        "no such run",
        "look again",
        {"near": ["b"]},
    )
