"""Rules about conversations, and the other rules on what is said in them."""

import json
from dataclasses import replace
from typing import Any, get_args

import polars as pl
import pytest

from finetune30.config.data import DataConfig
from finetune30.config.validation import RuleName
from finetune30.data.analysis.statistics import analyze_rows
from finetune30.data.cleaning import CONVERSATION_RECIPE, clean_rows
from finetune30.data.conversations.checks import find_fault, find_mark
from finetune30.data.conversations.conversation import Conversation, Message, dump, load
from finetune30.data.encoding import TokenCounts
from finetune30.data.loading import load_rows
from finetune30.data.prepare import prepare_data
from finetune30.data.validation.findings import DEFAULT_SEVERITIES
from finetune30.data.validation.validate import validate_rows
from finetune30.problems import choose_problem

NO_NEAR: dict[str, Any] = {"gate": {"near_duplicates": False}}
CALL = '[{"id":"a","function":{"name":"clock","arguments":"{}"}}]'
TOOLS = '[{"type":"function","function":{"name":"clock"}}]'


def talk(*said: str, calls: dict[int, str] | None = None, tools: str | None = None) -> Conversation:
    """Return a conversation of turns like "user: text"; `calls`: turn, from 1 -> its calls."""
    pairs = [text.split(": ", 1) for text in said]
    messages = [Message(role, text, tool_calls=(calls or {}).get(n)) for n, (role, text) in enumerate(pairs, start=1)]
    return Conversation(tuple(messages), tools)


@pytest.mark.parametrize(
    ("conversation", "rule", "words"),
    [
        (talk("user: a", "system: b", "assistant: c"), "role_order", "turn 2 (system)"),
        (talk("system: a", "assistant: b"), "role_order", "turn 2 (assistant)"),
        (talk("user: a", "user: b", "assistant: c"), "role_order", "turn 2 (user)"),
        (talk("user: a", "assistant: b", "assistant: c"), "role_order", "turn 3 (assistant)"),
        (talk("user: a", "assistant: b", "user: c"), "empty_answer", "turn 3 (user)"),
        (talk("user: a", "assistant: \u3000 "), "empty_answer", "turn 2 (assistant): empty answer"),
        (talk("user:  ", "assistant: b"), "empty_text", "turn 1 (user)"),
        (talk("user: a", "tool: b", "assistant: c"), "broken_tool_call", "turn 2 (tool)"),
        (talk("user: a", "assistant: ", calls={2: CALL}), "broken_tool_call", "no tool 'clock' is declared"),
        (
            talk("user: a", "assistant: ", calls={2: CALL.replace('"{}"', '"{"')}, tools=TOOLS),
            "broken_tool_call",
            "JSON",
        ),
        (
            talk("user: a", "assistant: ", "user: b", "assistant: c", calls={2: CALL}, tools=TOOLS),
            "broken_tool_call",
            "turn 3 (user): the calls in front of it have no answer",
        ),
        (Conversation(prompt="a", completion=" "), "empty_answer", "the completion is empty"),
    ],
)
def test_a_fault_is_named_with_its_turn_and_role(conversation, rule, words):
    fault = find_fault(conversation)
    assert fault is not None
    assert fault.rule == rule
    assert words in fault.fix


@pytest.mark.parametrize(
    "conversation",
    [
        talk("system: a", "user: b", "assistant: c", "user: d", "assistant: e"),
        talk("user: a", "assistant: ", "tool: b", "assistant: d", calls={2: CALL}, tools=TOOLS),
        talk("user: a", "assistant: ", calls={2: CALL}, tools=TOOLS),
        Conversation(prompt="", completion="b"),
        Conversation(text="a"),
    ],
)
def test_a_good_conversation_has_no_fault(conversation):
    assert find_fault(conversation) is None


@pytest.mark.parametrize("mark", ["<|im_end|>", "</s>", "[INST]", "<start_of_turn>", "<｜User｜>", "<eos>", "[SEP]"])
def test_marks_that_tokenizers_know_are_told(mark):
    assert mark in (find_mark(talk("user: a", f"assistant: b {mark}")) or "")


@pytest.mark.parametrize("text", ["a < b | c > d", "`x<y>`", "<p>markup</p>", "[1] a note", "if a <= s: return"])
def test_code_and_markup_are_no_marks(text):
    assert find_mark(talk("user: a", f"assistant: {text}")) is None


def load_texts(folder, conversations, evaluation=(), **data):
    for name, rows in (("train", conversations), ("validation", evaluation)):
        lines = [json.dumps({"conversation": dump(row)}, ensure_ascii=False) + "\n" for row in rows]
        if lines:
            (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    config = DataConfig(dataset_name=str(folder), **data)
    return load_rows(config, lambda _: None, problem=choose_problem("causal_lm")), config


def found_in(folder, conversations, evaluation=(), **data):
    loaded, config = load_texts(folder, conversations, evaluation, **data)
    return set(validate_rows(loaded, config).findings.select("rule", "place").iter_rows())


def test_questions_answers_and_whole_conversations_are_compared(tmp_path):
    poem = "Write a poem about the long and winding river that flows through the old town."
    rows = [
        talk("user: How far is the moon?", "assistant: Quite far away."),
        talk("user: How far is the moon?", "assistant: Very near."),
        talk("user: Name a colour, please.", "assistant: Blue is one."),
        talk("user: Name a colour, please.", "assistant: Blue is one."),
        talk("user: What is asked again?", "assistant: This is."),
        talk(f"user: {poem}", "assistant: The river is long and it winds through the town all day."),
        talk(f"user: {poem}", "assistant: A river."),
        talk(f"user: {poem}!", "assistant: The river is long and it winds through the town all day."),
    ]
    evaluation = [talk("user: What is asked again?", "assistant: Something else.")]
    found = found_in(tmp_path, rows, evaluation)
    assert found == {
        *(("contradictory_answer", f"train.jsonl:{line}:18") for line in (1, 2, 6, 7)),
        ("exact_duplicate", "train.jsonl:4:18"),
        ("leakage", "train.jsonl:5:18"),
        ("near_duplicate", "train.jsonl:8:18"),
    }


def test_text_rules_see_what_is_said_and_not_the_json(tmp_path):
    rows = [talk(f"user: Tell me about number {n}, please.", f"assistant: It is the number {n}.") for n in range(30)]
    rows[3] = talk("user: Tell me about cafes.", "assistant: A cafÃ© is nice.")
    rows[4] = talk("user: Tell me about markup.", "assistant: <p>It has <b>tags</b></p>")
    rows[5] = talk("user: Tell me about it all.", "assistant: broken \ufffd here")
    rows[6] = talk("user: Tell me about Taipei.", "assistant: 台北是台灣的首都，有很多好吃的東西。")
    near_off = {"near_duplicates": False}
    expected = {("mojibake", 4), ("replacement_character", 6), ("script_mix", 7)}
    places = {(rule, f"train.jsonl:{line}:18") for rule, line in expected}
    assert found_in(tmp_path, rows, gate=near_off) == places
    asked = found_in(tmp_path, rows, gate=near_off, validation_rules={"remove_html": False})
    assert asked == places | {("html", "train.jsonl:5:18")}


def test_cleaning_changes_what_is_said_and_nothing_else(tmp_path):
    code = "def f():\n    return '<p>x</p>'  # two  spaces"
    rows = [
        talk(f"user: cafÃ©\u200b\n {code}", "assistant: ", calls={2: CALL}, tools=TOOLS),
        Conversation(prompt="a\x01", completion="b "),
        Conversation(text='{"a": "c\x02"}'),
    ]
    loaded, config = load_texts(tmp_path, rows)
    steps = [step for step in CONVERSATION_RECIPE if step["step"] != "drop_by_rule"]
    cleaned = clean_rows(loaded.rows, steps)
    first, second, third = (load(cell) for cell in cleaned.rows["conversation"])
    assert first == talk(f"user: café\n {code}", "assistant: ", calls={2: CALL}, tools=TOOLS)
    assert (second.prompt, second.completion, third.text) == ("a", "b ", '{"a": "c"}')
    assert cleaned.changed == {"mojibake": 1, "control_characters": 3}
    mended = validate_rows(loaded, config).rows["conversation"]
    assert load(mended[1]) == Conversation(prompt="a", completion="b ")


def test_analysis_counts_turns_roles_scripts_and_tools(tmp_path):
    rows = [
        talk("system: be brief", "user: hello there", "assistant: 你好，很高興認識你。"),
        talk("user: time?", "assistant: ", "tool: 9", "assistant: It is nine.", calls={2: CALL}, tools=TOOLS),
        Conversation(prompt="one", completion=" two"),
    ]
    loaded, _ = load_texts(tmp_path, rows)
    tree = analyze_rows(loaded.rows, loaded.problem)["splits"]["train"]
    found = tree["conversations"]
    assert found["kinds"] == {"messages": 2, "prompt_completion": 1}
    assert found["turns"] == {"2": 1, "3": 1, "4": 1}
    assert found["roles"]["assistant"] == {"turns": 4, "characters": 10 + 0 + 11 + 4}
    assert found["scripts"] == {"Latin": 2, "Han": 1}
    assert found["tools"] == {"rows": 1, "turns_with_calls": 1, "declared": {"clock": 1}}
    assert found["examples"][2] == ["prompt: one", "completion:  two"]
    assert tree["vocabulary"]["most_frequent"].get("role") is None


def test_every_rule_that_a_configuration_may_name_has_a_severity():
    assert set(get_args(RuleName)) == set(DEFAULT_SEVERITIES)


def test_tokens_are_counted_of_conversations_in_canonical_form(tmp_path):
    rows = [talk(f"user: one two {count}", f"assistant: {'word ' * count}end") for count in (2, 30)]
    loaded, config = load_texts(tmp_path, rows, max_length=20)

    def count_tokens(texts, pairs):
        assert pairs is None
        contents = [[message["content"] for message in json.loads(text)["messages"]] for text in texts]
        return TokenCounts([len(" ".join(said).split()) for said in contents])

    findings = validate_rows(loaded, config, count_tokens=count_tokens).findings
    assert [row[:2] for row in findings.select("rule", "place", "fix").iter_rows()] == [
        ("truncated", "train.jsonl:2:18")
    ]
    assert findings["fix"][0].startswith("34 tokens, cut at data.max_length (20)")


def test_a_stored_conversation_keeps_the_nulls_of_its_tools_in_every_file(tmp_path):
    tools = '[{"name":"f","parameters":{"a":{"default":null}}}]'
    cell = dump(talk("user: a question", "assistant: an answer", tools=tools))
    pl.DataFrame({"conversation": [cell]}).write_parquet(tmp_path / "train.parquet")
    config = DataConfig(dataset_name=str(tmp_path / "train.parquet"))
    loaded = load_rows(config, lambda _: None, problem=choose_problem("causal_lm"))
    assert loaded.rows["conversation"].to_list() == [cell]


def test_an_evaluation_question_leaks_from_any_turn_that_is_learnt(tmp_path):
    opening = ("user: Where is the museum?", "assistant: On the hill.")
    follow = ("user: And when does it close on Sundays?", "assistant: At nine in the evening.")
    silent = talk(*opening, *follow)
    silent = replace(silent, messages=(silent.messages[0], replace(silent.messages[1], weight=0), *silent.messages[2:]))
    rows = [talk(*opening, *follow), talk("user: Where is the zoo?", opening[1], *follow), silent]
    loaded, config = load_texts(tmp_path, rows, [talk(opening[0], "assistant: Nobody knows.")], **NO_NEAR)
    (leak,) = validate_rows(loaded, config).findings.filter(rule="leakage").rows(named=True)
    assert leak["place"] == "train.jsonl:1:18"
    assert leak["fix"] == "an earlier turn asks what evaluation row validation.jsonl:1 asks; remove it here"


def test_a_dialogue_written_once_for_each_answer_stays_on_one_side(tmp_path):
    rows = []
    for n in range(40):
        turns = [
            f"user: Where is house {n}?",
            f"assistant: On hill {n}.",
            f"user: Who lives in {n}?",
            "assistant: Ann.",
        ]
        rows += [talk(*turns[:2]), talk(*turns)]
    load_texts(tmp_path, rows)
    config = DataConfig(dataset_name=str(tmp_path), eval_fraction=0.3, test_fraction=0.3, **NO_NEAR)
    data = prepare_data(config, problem=choose_problem("causal_lm"), num_labels=2, seed=1, log=lambda _: None)
    assert data.held_back is not None
    assert data.held_back.rows is not None
    houses = [
        {load(cell).contents[0] for cell in part["conversation"]}
        for part in (data.train, data.evaluation, data.held_back.rows)
    ]
    assert all(houses)
    assert sum(map(len, houses)) == len(set().union(*houses)) == 40
