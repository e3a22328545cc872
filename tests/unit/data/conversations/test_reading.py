"""Rows of every format from every kind of file: read, told, or named by their line."""

import csv
import json
from pathlib import Path

import polars as pl
import pytest

from finetune30.config.data import DataConfig
from finetune30.data.conversations.conversation import dump, load
from finetune30.data.loading import load_rows
from finetune30.data.prepare import prepare_data, version_rows_of
from finetune30.data.validation.validate import validate_rows
from finetune30.data.versions.schema import schema_of_roles
from finetune30.data.versions.storage import digest_version
from finetune30.errors import DataError, DataFileError
from finetune30.problems import choose_problem

ASKED = [("What is 2+2?", "It is four."), ("台北在哪裡？", "台北在台灣的北部。"), ("Name a fruit.", "An apple, say.")]
CALL = {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Taipei", "unit": null}'}}
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"properties": {"city": {"type": "string"}}}},
}
CLOCK = {
    "type": "function",
    "function": {"name": "clock", "parameters": {"properties": {"zone": {"enum": ["A", "B"]}}}},
}
TOOLED = [
    {
        "messages": [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "tool_calls": [CALL]},
            {"role": "tool", "content": "sunny", "tool_call_id": "a"},
            {"role": "assistant", "content": "Sunny it is."},
        ],
        "tools": [WEATHER],
    },
    {
        "messages": [{"role": "user", "content": "Hello there."}, {"role": "assistant", "content": "Hello to you."}],
        "tools": [CLOCK],
    },
]


def turns(question, answer, role="role", content="content", names=("user", "assistant")):
    return [{role: names[0], content: question}, {role: names[1], content: answer}]


def write_jsonl(path: Path, rows: list) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path, problem: str = "causal_lm", **data):
    config = DataConfig(dataset_name=str(path), **data)
    return load_rows(config, lambda _: None, problem=choose_problem(problem)), config


def conversations(path: Path, **data):
    return [load(cell) for cell in read(path, **data)[0].rows["conversation"]]


def digest_of(path: Path) -> str:
    loaded, _ = read(path)
    rows = {"train": version_rows_of(loaded.rows, loaded.problem)}
    return digest_version({}, rows, schema_of_roles(loaded.problem.columns))


def write_every_format(folder: Path, rows: list[dict]) -> list[Path]:
    """Write the same rows as an array, lines, a CSV with JSON in its cells, and Parquet with lists of structs."""
    paths = [folder / f"rows.{ending}" for ending in ("json", "jsonl", "csv", "parquet")]
    paths[0].write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")
    write_jsonl(paths[1], rows)
    with paths[2].open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(
            [
                {k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for k, v in row.items()}
                for row in rows
            ]
        )
    pl.DataFrame(rows).write_parquet(paths[3])
    return paths


def test_fault_14_all_dialects_in_one_file_are_used_and_the_broken_rows_named_by_line(tmp_path):
    rows = [
        {"messages": turns(*ASKED[0])},
        {"messages": [{"role": "developer", "content": "Be kind."}, *turns("Who?", "Me, I think.")]},
        {"conversations": turns("Ask", "Reply to it", "from", "value", ("human", "gpt"))},
        {"conversations": turns("Where?", "In the sky.", "from", "value", ("user", "bing"))},
        {"conversations": turns("When?", "At nine.", "from", "value", ("Human", "ChatGPT")), "system": "You know."},
        {"instruction": "Translate into French.", "input": "dog", "output": "chien", "history": [["a", "b"]]},
        {"prompt": "Once upon a time", "completion": " there was a king."},
        {"question": "Who wrote Hamlet?", "answer": "William Shakespeare."},
        {"text": "A plain text about rivers."},
        {"messages": turns("Hm?", "Abracadabra.", names=("user", "wizard"))},
        {"messages": '[{"role": "user", '},
        {"messages": [*turns("A question", "An answer"), *turns("Another", " ")]},
    ]
    loaded, config = read(write_jsonl(tmp_path / "rows.jsonl", rows))
    checked = validate_rows(loaded, config)
    kept = [load(cell) for cell in checked.rows.filter(pl.col("reason").is_null())["conversation"]]
    assert [found.kind for found in kept] == ["messages"] * 6 + ["prompt_completion", "messages", "text"]
    assert [message.role for message in kept[1].messages] == ["system", "user", "assistant"]
    assert [message.role for message in kept[4].messages] == ["system", "user", "assistant"]
    assert [message.content for message in kept[5].messages] == ["a", "b", "Translate into French.\n\ndog", "chien"]
    found = checked.findings.select("rule", "place").rows()
    assert sorted(found, key=lambda row: row[1]) == [
        ("unknown_role", "rows.jsonl:10"),
        ("broken_conversation", "rows.jsonl:11"),
        ("empty_answer", "rows.jsonl:12"),
    ]
    said = dict(checked.findings.select("rule", "fix").iter_rows())
    assert said["empty_answer"].startswith("turn 4 (assistant): empty answer")
    assert "turn 2: unknown role 'wizard'" in said["unknown_role"]
    told = [entry.found for entry in loaded.detected if entry.key == "data.conversation_format"]
    assert {text.split(":")[0] for text in told} == {
        f"rows read as {name}"
        for name in ("messages", "sharegpt", "alpaca", "prompt_completion", "question_answer", "text")
    }


@pytest.mark.parametrize("rows", [[{"messages": turns(*pair)} for pair in ASKED], TOOLED], ids=["plain", "tools"])
def test_fault_15_the_same_rows_have_one_digest_whatever_file_they_come_from(tmp_path, rows):
    digests = {path.name: digest_of(path) for path in write_every_format(tmp_path, rows)}
    if all("tools" not in row for row in rows):
        listed = tmp_path / "lists.json"
        listed.write_text(json.dumps([row["messages"] for row in rows]), encoding="utf-8")
        lines = write_jsonl(tmp_path / "lists.jsonl", [row["messages"] for row in rows])
        digests |= {path.name: digest_of(path) for path in (listed, lines)}
    assert len(set(digests.values())) == 1, digests


def test_fault_13_tools_of_one_row_have_no_keys_of_another(tmp_path):
    for path in write_every_format(tmp_path, TOOLED):
        found = conversations(path)
        assert [json.loads(row.tools or "[]") for row in found] == [row["tools"] for row in TOOLED], path.name
        assert json.loads(found[0].messages[1].tool_calls or "[]") == [CALL]
        assert found[1].messages[1].tool_calls is None


def test_fault_7_a_system_column_is_the_first_turn(tmp_path):
    row = {"system": "Answer briefly.", "conversations": turns("Hi there", "Hello", "from", "value", ("human", "gpt"))}
    (found,) = conversations(write_jsonl(tmp_path / "rows.jsonl", [row]))
    assert found.contents == ("Answer briefly.", "Hi there", "Hello")


def test_fault_6_thoughts_and_parts_of_messages_are_kept_and_pictures_are_faults(tmp_path):
    parts = [{"type": "text", "text": "你好，"}, {"type": "text", "text": "世界"}]
    picture = [{"type": "image_url", "image_url": {"url": "x"}}]
    thought = {"role": "assistant", "content": "Four.", "reasoning_content": "2+2", "mood": 1}
    rows = [{"messages": [{"role": "user", "content": parts}, thought]}, {"messages": turns(picture, "A cat.")}]
    loaded, config = read(write_jsonl(tmp_path / "rows.jsonl", rows))
    found = load(loaded.rows["conversation"][0])
    assert found.messages[0].content == "你好，世界"
    assert found.messages[1].reasoning_content == "2+2"
    assert any("'mood'" in entry.found for entry in loaded.detected)
    (fault,) = validate_rows(loaded, config).findings.rows(named=True)
    assert (fault["rule"], fault["place"]) == ("broken_conversation", "rows.jsonl:2")
    assert "'image_url'" in fault["fix"]


def test_a_format_that_is_named_is_the_only_one(tmp_path):
    path = write_jsonl(
        tmp_path / "rows.jsonl", [{"text": f"title {a}", "prompt": a, "completion": b} for a, b in ASKED]
    )
    assert {found.kind for found in conversations(path)} == {"prompt_completion"}
    assert {found.kind for found in conversations(path, conversation_format="text")} == {"text"}
    assert {found.kind for found in conversations(path, conversation_format="question_answer")} == {"messages"}
    with pytest.raises(DataFileError, match="no row has the columns of") as caught:
        read(path, conversation_format="alpaca")
    assert caught.value.remedy == "set data.conversation_format to auto, or rename the columns"
    assert len(conversations(path, conversation_format="auto")) == len(ASKED)


def test_columns_that_nobody_knows_are_named(tmp_path):
    path = write_jsonl(tmp_path / "rows.jsonl", [{"frage": a, "antwort": b} for a, b in ASKED])
    with pytest.raises(DataFileError, match="no column holds a conversation") as caught:
        read(path)
    assert "set data.text_column to the column of the questions" in caught.value.remedy
    found = conversations(path, text_column="frage", text_pair_column="antwort")
    assert [row.contents for row in found] == ASKED
    assert [row.text for row in conversations(path, text_column="antwort")] == [answer for _, answer in ASKED]


def test_a_message_a_row_is_no_conversation(tmp_path):
    path = tmp_path / "one.json"
    path.write_text(json.dumps(turns(*ASKED[0])), encoding="utf-8")
    with pytest.raises(DataFileError, match="every row is a single message"):
        read(path)


@pytest.mark.parametrize("column", ["messages", "conversations"])
def test_auto_takes_lists_of_messages_for_conversations_and_says_so(tmp_path, column):
    loaded, _ = read(write_jsonl(tmp_path / "rows.jsonl", [{column: turns(*pair)} for pair in ASKED]), "auto")
    assert loaded.problem.name == "causal_lm"
    told = next(entry for entry in loaded.detected if entry.key == "model.problem_type")
    assert (told.found, told.because) == ("the problem is causal_lm", f"the column {column!r} holds lists of messages")


def test_auto_never_takes_questions_with_labels_for_conversations(tmp_path):
    rows = [{"question": a, "answer": b, "label": n % 2} for n, (a, b) in enumerate(ASKED * 4)]
    assert read(write_jsonl(tmp_path / "pairs.jsonl", rows), "auto")[0].problem.name == "single_label_classification"
    rows = [{"messages": turns(a, b), "label": n % 2} for n, (a, b) in enumerate(ASKED * 4)]
    path = write_jsonl(tmp_path / "labelled.jsonl", rows)
    assert read(path, "auto", text_column="messages")[0].problem.name == "single_label_classification"


def test_a_training_gets_the_good_rows_and_rows_of_one_question_stay_together(tmp_path):
    rows = [{"messages": turns(f"question number {n // 2} of them", f"answer {n} to it")} for n in range(60)]
    rows.append({"messages": turns("unanswered", "")})
    config = DataConfig(
        dataset_name=str(write_jsonl(tmp_path / "rows.jsonl", rows)),
        gate={"max_faulty_share": 0.5, "near_duplicates": False},
    )
    data = prepare_data(config, problem=choose_problem("causal_lm"), num_labels=2, seed=1, log=lambda _: None)
    assert data.train.height + data.evaluation.height == 60
    assert data.quarantine["reason"].to_list() == ["empty_answer"]
    asked = [{load(cell).contents[0] for cell in part["conversation"]} for part in (data.train, data.evaluation)]
    assert asked[1]
    assert not asked[0] & asked[1]


def test_a_format_of_conversations_is_refused_where_none_are_read(tmp_path):
    path = write_jsonl(tmp_path / "rows.jsonl", [{"text": a, "label": n % 2} for n, (a, _) in enumerate(ASKED * 4)])
    with pytest.raises(DataError, match="the problem reads no conversations") as caught:
        read(path, "single_label_classification", conversation_format="text")
    assert caught.value.remedy == "leave data.conversation_format out, or set model.problem_type to causal_lm"
    assert read(path, "single_label_classification")[0].problem.name == "single_label_classification"
    loaded, _ = read(path, "causal_lm", conversation_format="text")
    assert load(loaded.rows["conversation"][1]).text == ASKED[1][0]
    told, _ = read(path, "auto", conversation_format="text")
    assert told.problem.name == "causal_lm"
    assert any(entry.because == "data.conversation_format is set" for entry in told.detected)


@pytest.mark.parametrize("cell", [["nine", "9:30"], '["nine", "9:30"]', "nine"])
def test_what_an_answer_has_to_hold_stands_beside_it_and_is_read_in_every_form(tmp_path, cell):
    path = write_jsonl(tmp_path / "rows.jsonl", [{"messages": turns("When?", "At nine."), "expected": cell}])
    loaded, _ = read(path)
    (row,) = loaded.rows["conversation"]
    assert load(row).expected == (("nine",) if cell == "nine" else ("nine", "9:30"))
    assert "nine" not in "".join(load(row).contents[:1])


def test_what_is_expected_must_be_texts(tmp_path):
    rows = [{"messages": turns("When?", "At nine."), "expected": cell} for cell in ([], [1], ["nine"])]
    loaded, config = read(write_jsonl(tmp_path / "rows.jsonl", rows))
    marked = validate_rows(loaded, config).rows["reason"].to_list()
    assert marked == ["broken_conversation", "broken_conversation", None]


def test_files_may_have_further_columns_that_others_lack(tmp_path):
    write_jsonl(tmp_path / "train.jsonl", [{"messages": turns(f"When, {i}?", "At nine.")} for i in range(3)])
    write_jsonl(tmp_path / "eval.jsonl", [{"messages": turns("When?", "At nine."), "expected": ["nine"]}])
    loaded, _ = read(tmp_path)
    assert [load(row).expected for row in loaded.rows["conversation"]] == [(), (), (), ("nine",)]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": {"role": "user", "content": "My secret question."}},
        {"conversations": {"from": "human", "value": "My secret question."}},
        {"messages": {"content": "My secret question."}},
        {"text": {"role": "user", "content": "My secret question."}},
        {"prompt": {"role": "user", "content": "My secret question."}, "completion": "An answer."},
        {"question": "A question?", "answer": {"role": "assistant", "content": "An answer."}},
    ],
)
def test_one_message_without_its_list_is_a_fault_and_never_a_text_to_be_learnt(tmp_path, row):
    rows = [{"messages": turns(*ASKED[0])}, row]
    loaded, config = read(write_jsonl(tmp_path / "rows.jsonl", rows))
    (fault,) = validate_rows(loaded, config).findings.rows(named=True)
    assert (fault["rule"], fault["place"]) == ("broken_conversation", "rows.jsonl:2")
    assert "write a list of messages" in fault["fix"]


def test_a_list_of_messages_is_a_conversation_in_a_column_of_texts_too(tmp_path):
    path = write_jsonl(tmp_path / "rows.jsonl", [{"text": turns(*pair)} for pair in ASKED])
    assert [found.contents for found in conversations(path)] == ASKED
    assert {found.kind for found in conversations(path, conversation_format="text")} == {"text"}


def test_cells_that_are_json_are_learnt_as_they_stand_and_said(tmp_path):
    rows = [
        {"question": "What is it?", "answer": {"text": "the thing"}},
        {"question": "List some.", "answer": ["a", "b"]},
        {"question": "Three?", "answer": "[1] is a note, {this} no JSON"},
        {"text": {"title": "t"}},
    ]
    loaded, _ = read(write_jsonl(tmp_path / "rows.jsonl", rows))
    assert load(loaded.rows["conversation"][0]).contents[1] == '{"text": "the thing"}'
    (told,) = [entry for entry in loaded.detected if "JSON" in entry.found]
    assert told.found == "cells that are JSON objects or lists: 3, in 'answer', 'text'"


TWICE = '{"role": "user", "content": "a", "content": "b"}'
ANSWERED = '{"role": "assistant", "content": "c"}'
CALLED = '[{"role": "user", "content": "a"}, {"role": "assistant", "content": "", "tool_calls": %s}]'
CLOCK_CALL = '"function": {"name": "clock", "arguments": "{\\"city\\": 1, \\"city\\": 2}"}'


@pytest.mark.parametrize(
    ("cells", "key"),
    [
        ({"messages": f"[{TWICE}, {ANSWERED}]"}, "content"),
        ({"text": f"[{TWICE}, {ANSWERED}]"}, "content"),
        ({"prompt": f"[{TWICE}]", "completion": "c"}, "content"),
        ({"prompt": "a", "completion": '[{"role": "user", "role": "assistant", "content": "c"}]'}, "role"),
        ({"question": f"[{TWICE}]", "answer": "c"}, "content"),
        ({"messages": f"[{ANSWERED}]", "tools": '[{"name": "a", "name": "b"}]'}, "name"),
        ({"messages": CALLED % json.dumps('[{"name": "a", "name": "b", "arguments": {}}]')}, "name"),
        ({"messages": CALLED % ("[{" + CLOCK_CALL + "}]"), "tools": '[{"name": "clock"}]'}, "city"),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_key_that_stands_twice_in_a_cell_is_a_fault_wherever_json_is_read(tmp_path, cells, key, ending):
    path = tmp_path / f"rows.{ending}"
    good = {"messages": json.dumps(turns(*ASKED[0])), "text": None, "prompt": None, "question": None}
    names = list(dict.fromkeys([*good, *cells]))
    frame = pl.DataFrame(
        [{n: one.get(n) for n in names} for one in (good, cells)], schema=dict.fromkeys(names, pl.String)
    )
    frame.write_csv(path) if ending == "csv" else frame.write_parquet(path)
    loaded, config = read(path)
    (fault,) = [row for row in validate_rows(loaded, config).findings.rows(named=True) if row["severity"] == "error"]
    assert fault["place"].startswith(f"rows.{ending}:")
    assert f"the key {key!r} stands twice in one object; keep one of them" in fault["fix"]


@pytest.mark.parametrize("weight", [{"weight": 0}, {"train": False}, {"weight": 0.0}])
def test_a_turn_without_weight_says_so_in_the_canonical_form_and_one_with_it_is_as_any_other(tmp_path, weight):
    first, second = turns("One?", "A bad answer."), turns("Two?", "A good answer.")
    rows = [{"messages": [first[0], {**first[1], **weight}, second[0], {**second[1], "weight": 1}]}]
    (found,) = conversations(write_jsonl(tmp_path / "rows.jsonl", rows))
    assert [message.weight for message in found.messages] == [None, 0, None, None]
    assert load(dump(found)) == found
    assert dump(found).count('"weight":0') == dump(found).count("weight") == 1


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"weight": 0.5}, "'weight' is '0.5'; write 0"),
        ({"weight": 1, "train": 2}, "'train' is '2'; write 0"),
        ({"weight": 1, "train": False}, "'weight' and 'train' say different things; keep one of them"),
    ],
)
def test_a_weight_that_says_nothing_clear_is_a_fault(tmp_path, said, told):
    asked, answered = turns("A?", "B")
    rows = [{"messages": turns(*ASKED[0])}, {"messages": [asked, {**answered, **said}]}]
    loaded, config = read(write_jsonl(tmp_path / "rows.jsonl", rows))
    (fault,) = validate_rows(loaded, config).findings.rows(named=True)
    assert (fault["rule"], fault["place"]) == ("broken_conversation", "rows.jsonl:2")
    assert fault["fix"].startswith(f"turn 2 (assistant): {told}")
