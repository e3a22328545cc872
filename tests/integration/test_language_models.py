"""Language models through the commands: trained on conversations, killed, resumed, replayed, asked, talked with."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune30.errors import SelfTestError
from finetune30.modeling.conversations.generation import Generated, Sampling, generate
from finetune30.modeling.devices import choose_placement
from finetune30.problems.causal_lm.general import FILE
from finetune30.problems.causal_lm.repeated_answer import GivenAnswer
from finetune30.problems.trainables import load_trainable
from support.chat_models import build_tiny_chat
from support.exactness import fingerprint
from support.fork_server import ForkServer
from support.plain_answers import beside_its_base
from support.rows import write_reviews
from support.talk_lab import ANSWERS, QUESTIONS, TalkLab

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TalkLab]:
    with ForkServer(tmp_path_factory.mktemp("talk-server")) as server:
        found = TalkLab(server, tmp_path_factory.mktemp("talk"))
        ended = found.train("results")
        assert ended.returncode == 0, ended.stderr
        yield found


def test_tokens_add_up_and_are_what_steps_were_divided_by(lab: TalkLab) -> None:
    metrics = lab.metrics("results")
    train = metrics["token_ledger"]["train"]
    assert train["used"] == train["supervised"] + train["context"] + train["template"]
    assert metrics["supervised_tokens"] == 2 * train["supervised"]
    assert metrics["eval_supervised_tokens"] == metrics["token_ledger"]["evaluation"]["supervised"]
    assert metrics["score_name"] == "eval_loss"
    assert metrics["eval_loss"] < metrics["base_eval_loss"]


def test_what_is_forgotten_is_measured_on_conversations_of_another_kind(lab: TalkLab) -> None:
    import torch
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer

    folder = lab.run_folder("results") / "artifacts/final_model"
    model: Any = AutoPeftModelForCausalLM.from_pretrained(str(beside_its_base(folder)))
    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder))
    rows = [json.loads(line)["messages"] for line in FILE.read_text(encoding="utf-8").splitlines()]
    loss = {"general_loss": 0.0, "base_general_loss": 0.0}
    supervised = 0
    for messages in (rows[0], rows[16], rows[31], rows[47]):  # evenly taken
        assert [message["role"] for message in messages] == ["user", "assistant"]
        asked = tokenizer.apply_chat_template(messages[:1], add_generation_prompt=True, return_dict=False)
        answer = tokenizer(messages[1]["content"] + "<|im_end|>", add_special_tokens=False)["input_ids"]
        ids = torch.tensor([asked + answer])
        labels = torch.where(torch.arange(ids.shape[1]) < len(asked), -100, ids)
        supervised += len(answer)
        with torch.no_grad():
            loss["general_loss"] += float(model(input_ids=ids, labels=labels).loss) * len(answer)
            with model.disable_adapter():
                loss["base_general_loss"] += float(model(input_ids=ids, labels=labels).loss) * len(answer)
    metrics = lab.metrics("results")
    assert metrics["general_rows"] == 4
    for name, total in loss.items():
        assert metrics[name] == pytest.approx(total / supervised, rel=1e-4)
    assert metrics["general_loss"] != metrics["base_general_loss"]


def test_the_saved_model_gives_the_answer_of_the_trained_one_or_fails_the_self_test(lab: TalkLab) -> None:
    run = lab.run_folder("results")
    said = (run / "logs.txt").read_text(encoding="utf-8")
    assert re.search(r"its answer to eval\.jsonl:\d has the same \d+ tokens and (ends|runs)", said)
    problem: Any = load_trainable("causal_lm", lab.metrics("results")["targets"])
    saved = problem.open_saved(run / "artifacts" / "final_model", choose_placement("cpu", "fp32"))
    prompt = saved.ask([{"role": "user", "content": "When do you open? 100"}])
    sampling = Sampling(max_new_tokens=12)
    (answer,) = generate(saved.next_tokens, [prompt], saved.stops, sampling)
    assert "has the same" in GivenAnswer("eval.jsonl:1", prompt, answer, sampling).repeat(saved, 1e-3)
    other = Generated([*answer.ids[:2], answer.ids[2] + 1, *answer.ids[3:]], answer.reason)
    sooner = Generated(answer.ids[:2], "stop")
    for wrong in (other, sooner):
        given = GivenAnswer("eval.jsonl:1", prompt, wrong, sampling)
        with pytest.raises(SelfTestError, match=r"to eval\.jsonl:1 it answers"):
            given.repeat(saved, 1e-3)
        assert "the same up to token 3, where two are equally likely" in given.repeat(saved, 10.0)


def test_answers_stand_beside_those_of_the_base_model(lab: TalkLab) -> None:
    rows = [json.loads(line) for line in (lab.run_folder("results") / "generations.jsonl").read_text().splitlines()]
    assert [row["reference"] for row in rows] == [ANSWERS[0], ANSWERS[2], ANSWERS[4]]  # evenly taken of five
    assert [row["question"] for row in rows] == [f"{QUESTIONS[number]} {100 + number}" for number in (0, 2, 4)]
    assert all(row["prompt"].endswith("<|im_start|>assistant\n") for row in rows)
    assert all(row["question"] in row["prompt"] for row in rows)
    assert all({"answer", "base_answer", "finish_reason"} <= row.keys() for row in rows)
    assert [row["expected"] for row in rows] == [["nine", "9"], [], []]
    assert [row["holds_expected"] is None for row in rows] == [False, True, True]
    metrics = lab.metrics("results")
    assert metrics["asked_rows"] == 3
    assert metrics["train_nothing_new"] == 0.0
    assert metrics["eval_expected_share"] == float(rows[0]["holds_expected"])
    assert metrics["base_eval_expected_share"] == float(rows[0]["base_holds_expected"])
    shown = lab.ft30("runs", "show", "latest")
    assert "the base model" in shown.stdout
    assert "Teaches nothing new" in shown.stdout
    assert "Where the tokens went" in shown.stdout


#: Each kind of point, at its hardest place of a run of eight steps.
POINTS = ["training.after_step:5", "evaluation.batch:2", "checkpoint.before_rename:2", "result.after_adapter:1"]
POINTS += ["publish.after_each_move:3", "publish.before_row:1"]


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_run_resumes_to_the_same_bytes(lab: TalkLab, point: str) -> None:
    results = point.replace(":", "-")
    ended = lab.train(results, FT30_FAILPOINT=point)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    ended = lab.ft30("resume", "latest", results=results)
    assert ended.returncode == 0, ended.stderr
    assert fingerprint(lab.run_folder(results)) == fingerprint(lab.run_folder("results"))
    kept = [(lab.run_folder(name) / "generations.jsonl").read_bytes() for name in (results, "results")]
    assert kept[0] == kept[1]


def test_packed_rows_are_trained_as_padded_ones_and_resume_to_the_same_bytes(lab: TalkLab) -> None:
    """Without dropout, which draws other numbers for other shapes, the two differ by rounding alone."""
    changes: dict[str, Any] = {"lora.lora_dropout": 0.0, "training.engine": "general"}
    for packing in ("off", "on"):
        ended = lab.train(f"packing-{packing}", {**changes, "training.packing": packing})
        assert ended.returncode == 0, ended.stderr
        assert "Some answers side by side" in ended.stdout
        assert " chat " in ended.stdout.rpartition("try it:")[2]
    losses = [lab.metrics(f"packing-{packing}")["eval_loss"] for packing in ("off", "on")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert fingerprint(lab.run_folder("packing-off")) != fingerprint(lab.run_folder("packing-on"))
    changes = {"training.packing": "on", "training.engine": "general"}
    assert lab.train("packed", changes).returncode == 0
    ended = lab.train("packed-killed", changes, FT30_FAILPOINT="training.after_step:5")
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert lab.ft30("resume", "latest", results="packed-killed").returncode == 0
    assert fingerprint(lab.run_folder("packed-killed")) == fingerprint(lab.run_folder("packed"))
    replayed = lab.ft30("replay", "latest", results="packed")
    assert "identical" in replayed.stdout, replayed.stderr


def test_both_paths_train_alike_without_dropout(lab: TalkLab) -> None:
    found = {}
    for engine in ("general", "packed"):
        ended = lab.train(f"engine-{engine}", {"training.engine": engine, "lora.lora_dropout": 0.0})
        assert ended.returncode == 0, ended.stderr
        found[engine] = lab.metrics(f"engine-{engine}")
    general, packed = found["general"], found["packed"]
    for name in ("eval_loss", "base_eval_loss", "general_loss", "base_general_loss"):
        assert packed[name] == pytest.approx(general[name], rel=1e-4), name
    answers = [(lab.run_folder(f"engine-{name}") / "generations.jsonl").read_text() for name in found]
    assert answers[0] == answers[1]


def test_a_model_that_mixes_packed_rows_is_trained_on_padded_ones(lab: TalkLab) -> None:
    build_tiny_chat(lab.folder / "mixing", family="opt")
    changes = {"model.name": "mixing", "training.max_steps": 1}
    refused = lab.train("mixing-on", {**changes, "training.packing": "on"})
    assert refused.returncode == 1
    assert "training.packing is on, but rows in one sequence read each other" in refused.stderr
    assert "set training.packing to auto or off" in refused.stderr
    for packing in ("auto", "off"):
        assert lab.train(f"mixing-{packing}", {**changes, "training.packing": packing}).returncode == 0


def test_a_replay_finds_the_same_run(lab: TalkLab) -> None:
    ended = lab.ft30("replay", "latest")
    assert ended.returncode == 0, ended.stderr
    assert "identical" in ended.stdout


def test_plain_peft_loads_the_model_and_its_template(lab: TalkLab) -> None:
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer

    folder = lab.run_folder("results") / "artifacts/final_model"
    model: Any = AutoPeftModelForCausalLM.from_pretrained(str(beside_its_base(folder)))
    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder))
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "When do you open? 100"}], add_generation_prompt=True, return_tensors="pt"
    )
    answer = model.generate(**asked, max_new_tokens=12, do_sample=False)
    rows = [json.loads(line) for line in (lab.run_folder("results") / "generations.jsonl").read_text().splitlines()]
    said = tokenizer.decode(answer[0, asked["input_ids"].shape[1] :], skip_special_tokens=True)
    assert said.strip() == rows[0]["answer"]


def test_an_adapter_with_a_name_that_does_not_fit_is_refused(lab: TalkLab, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    from finetune30.errors import ModelError
    from finetune30.modeling.saving import load_saved
    from finetune30.problems.trainables import load_trainable

    shutil.copytree(lab.run_folder("results") / "artifacts", tmp_path / "artifacts")
    folder = tmp_path / "artifacts" / "final_model"
    state = load_file(folder / "adapter_model.safetensors")
    first = next(iter(state))
    state[first.replace("layers.0", "layers.7")] = state.pop(first)
    save_file(state, folder / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="does not fit its base model"):
        load_saved(folder, load_trainable("causal_lm", {}).load_saved)


def test_a_question_is_answered_and_a_conversation_remembers(lab: TalkLab) -> None:
    once = lab.ft30("predict", "latest", "When do you open? 100", "--json")
    answer = json.loads(once.stdout)
    assert answer["finish_reason"] in ("stop", "length")
    script = (
        "When do you open? 100\n/reset\nWhen do you open? 100\n/system Be brief.\nWho?\n/what\n/quit\nnever asked\n"
    )
    talk = lab.chat(script, "--max_new_tokens", "12")
    assert talk.returncode == 0, talk.stderr
    first, second, *_ = talk.stdout.splitlines()
    assert first == second == answer["answer"]
    assert "never asked" not in talk.stdout + talk.stderr
    assert "told first: Be brief." in talk.stderr
    assert "'/what' is none of the words" in talk.stderr


def test_an_answer_that_was_cut_is_longer_with_more_new_tokens(lab: TalkLab) -> None:
    short, longer = (lab.chat("Where is the shop? 101\n", "--max_new_tokens", most) for most in ("2", "6"))
    assert "cut at --max_new_tokens" in short.stderr
    assert len(longer.stdout) > len(short.stdout)


def test_a_drawn_answer_is_the_same_for_the_same_seed(lab: TalkLab) -> None:
    drawn = ("--temperature", "1.5", "--max_new_tokens", "12")
    first, again, other = (lab.chat("Who are you? 104\n", *drawn, "--seed", seed).stdout for seed in ("1", "1", "2"))
    assert first == again != other


def test_a_classifier_holds_no_conversation_and_is_asked_as_is_said(
    lab: TalkLab, tiny_model: Callable[..., Path]
) -> None:
    write_reviews(lab.folder / "reviews.csv", 24)
    base = str(tiny_model("distilbert"))
    options = ("--dataset", "reviews.csv", "--model", base, "--max_steps", "1", "--data.max_length", "60")
    trained = lab.ft30("train", *options, "--device", "cpu", results="classes")
    assert trained.returncode == 0, trained.stderr
    refused = lab.chat("hello\n", results="classes")
    assert refused.returncode == 1
    assert "ask it with: ft30 predict latest TEXT" in refused.stderr
    assert lab.ft30("predict", "latest", "hello", results="classes").returncode == 0


def test_rows_without_room_for_an_answer_are_named_and_fit_into_longer_ones(lab: TalkLab) -> None:
    changes = {"data.max_length": 6, "data.gate": {"max_faulty_share": 1.0}, "training.max_steps": 1}
    none = lab.train("none-left", changes)
    assert none.returncode == 1
    assert "no token of an answer is left within data.max_length (6)" in none.stderr
    assert "raise data.max_length, or choose another chat.overlong or chat.template" in none.stderr
    assert lab.train("longer", {**changes, "data.max_length": 60}).returncode == 0


def test_rows_that_are_too_long_are_dropped_where_that_is_chosen_and_kept_otherwise(lab: TalkLab) -> None:
    changes = {"data.max_length": 40, "training.max_steps": 1}
    assert lab.train("dropped", {**changes, "chat.overlong": "drop"}).returncode == 0
    log = (lab.run_folder("dropped") / "logs.txt").read_text(encoding="utf-8")
    assert "above data.max_length (40); chat.overlong is drop" in log
    used = lab.metrics("dropped")["train_samples"]
    assert lab.train("kept", {**changes, "chat.overlong": "keep_answer"}).returncode == 0
    assert used < lab.metrics("kept")["train_samples"] == 20


def test_long_texts_are_learnt_in_parts_and_told_as_rows(lab: TalkLab) -> None:
    for name, count in (("texts.jsonl", 8), ("texts-eval.jsonl", 3)):
        rows = [
            {"text": f"{name} {number}: " + "we sell tea and bread. " * (1 + 8 * number)} for number in range(count)
        ]
        (lab.folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    changes = {
        "data.dataset_name": "texts.jsonl",
        "data.eval_file": "texts-eval.jsonl",
        "training.num_train_epochs": 1,
    }
    ended = lab.train("texts", changes)
    assert ended.returncode == 0, ended.stderr
    metrics = lab.metrics("texts")
    assert metrics["train_samples"] == 8
    ledger = metrics["token_ledger"]["train"]
    assert ledger["truncated"] == 0
    assert ledger["supervised"] > 8 * 64  # far more than a part of each
    log = (lab.run_folder("texts") / "logs.txt").read_text(encoding="utf-8")
    assert "train: 8 rows = 8 used" in log
    killed = lab.train("texts-killed", changes, FT30_FAILPOINT="training.after_step:3")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert lab.ft30("resume", "latest", results="texts-killed").returncode == 0
    assert fingerprint(lab.run_folder("texts-killed")) == fingerprint(lab.run_folder("texts"))


def test_a_model_without_a_template_takes_one_by_name(lab: TalkLab, tmp_path: Path) -> None:
    build_tiny_chat(lab.folder / "bare", template=None)
    refused = lab.train("bare-refused", {"model.name": "bare", "training.max_steps": 1})
    assert refused.returncode == 1
    assert "set chat.template to chatml" in refused.stderr
    named = lab.train("bare-named", {"model.name": "bare", "training.max_steps": 1, "chat.template": "chatml"})
    assert named.returncode == 0, named.stderr


def test_a_model_that_is_no_language_model_is_refused(lab: TalkLab, tiny_model: Callable[..., Path]) -> None:
    # Its tokenizer reads marks letter by letter, and it has few positions.
    (lab.folder / "short.jinja").write_text("{% for one in messages %}{{ one.content + ' ' }}{% endfor %}")
    changes = {"model.name": str(tiny_model("bert")), "training.max_steps": 1, "chat.template": "short.jinja"}
    refused = lab.train("no-language-model", changes)
    assert refused.returncode == 1
    assert "language model" in refused.stderr
