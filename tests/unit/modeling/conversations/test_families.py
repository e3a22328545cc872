"""What carries loss under templates in the manner of families of models: rows by templates, with the wanted texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.pre_tokenizers import Metaspace

from finetune30.modeling.base import BaseSource
from finetune30.modeling.conversations.encoder import ConversationEncoder, restore_encoder
from finetune30.modeling.conversations.opening import describe_template, open_template
from finetune30.modeling.conversations.template import ChatTemplate, TemplateRefusalError, restore_template
from finetune30.modeling.conversations.tokenized_row import CONTEXT, SUPERVISED
from support.chat_families import FAMILIES, MISLEADING
from support.chat_models import TEMPLATES, build_tiny_tokenizer

ALL = {**TEMPLATES, **FAMILIES, **MISLEADING}
DAY = "2025-03-09"
END = "<|im_end|>"
ARGUMENTS = {"city": "Taipei"}


def call(arguments: Any) -> list[dict[str, Any]]:
    return [{"id": "call00000", "type": "function", "function": {"name": "weather", "arguments": arguments}}]


def row(*contents: Any, **more: Any) -> dict[str, Any]:
    """Return a conversation of user and assistant in turn; what is no text is a message of its own."""
    roles = ("user", "assistant")
    told: list[Any] = [
        {"role": roles[i % 2], "content": c} if isinstance(c, str) else c for i, c in enumerate(contents)
    ]
    return {"messages": told, **more}


def says(content: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


SYSTEM = {"role": "system", "content": "Be brief"}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "It tells the weather."}}]
TURNS = row("hi", "hello", "bye", "see you")
CALLS = row(
    "sun?",
    says("", tool_calls=call(json.dumps(ARGUMENTS))),
    {"role": "tool", "content": '{"sky": "blue"}'},
    says("d"),
    tools=TOOLS,
)
THOUGHT = row("1+1", says("2", reasoning_content="add"))
THOUGHT_INSIDE = row("1+1", "<think>\nadd\n</think>\n\n2")


def encoder(name: str, **options: Any) -> ConversationEncoder:
    tokenizer = build_tiny_tokenizer(ALL[name])
    template = open_template(tokenizer, BaseSource("tiny", "tiny", Path(), None), None, DAY)
    chosen = {"train_on": "assistant", "overlong": "keep_answer", "known_tokens": len(tokenizer), **options}
    return ConversationEncoder(tokenizer, template, **chosen)


def template_of(name: str, text: str | None = None, day: str = DAY) -> ChatTemplate:
    """Return a template as it is opened."""
    tokenizer = build_tiny_tokenizer(text or ALL[name])
    found = open_template(tokenizer, BaseSource("tiny", "tiny", Path(), None), None, day)
    assert found is not None
    return found


def pieces(made: ConversationEncoder, one: dict[str, Any], kind: int, limit: int = 10_000) -> list[str]:
    """Return the texts of the tokens of a kind, joined where they stand beside each other."""
    tokens = made.fit(one, limit).tokens
    found: list[list[int]] = [[]]
    for token, its in zip(tokens.ids, tokens.kinds, strict=True):
        if its == kind:
            found[-1].append(token)
        elif found[-1]:
            found.append([])
    return [str(made.tokenizer.decode(ids)) for ids in found if ids]


JSON_CALL = '{"city": "Taipei"}'
EXPECTED = [
    ("qwen", TURNS, [f"hello{END}", f"see you{END}"]),
    ("qwen", THOUGHT, [f"<think>\nadd\n</think>\n\n2{END}"]),
    ("qwen", THOUGHT_INSIDE, [f"<think>\nadd\n</think>\n\n2{END}"]),
    ("qwen", CALLS, [f'<call>\n{{"name": "weather", "arguments": {JSON_CALL}}}\n</call>{END}', f"d{END}"]),
    ("llama", TURNS, [f"hello{END}", f"see you{END}"]),
    ("llama", CALLS, [f'{{"name": "weather", "parameters": {JSON_CALL}}}{END}', f"d{END}"]),
    ("gemma", TURNS, [f"hello{END}", f"see you{END}"]),
    ("gemma", row("hi", " hello \n"), [f"hello{END}"]),
    ("mistral", TURNS, [f" hello{END}", f" see you{END}"]),
    ("mistral", CALLS, [f"[CALLS] weather {JSON_CALL}{END}", f" d{END}"]),
    ("chatml", THOUGHT_INSIDE, [f"<think>\nadd\n</think>\n\n2{END}"]),
    ("chatml", CALLS, [f"d{END}"]),
    ("chatml", row("d", "d", "im_end", "m"), [f"d{END}", f"m{END}"]),
    ("thinking", row("q", "<think>why</think>e", "c", "d"), [f"e{END}", f"d{END}"]),
    ("loud", row("q", "d"), [f"D{END}"]),
    ("judging", row("q", "m", "xy", "zz"), [f"m!{END}", f"zz{END}"]),
    # What is looked for stands earlier too: it is looked for behind what it follows.
    ("counting", row("d", "d", "m) ", "m", "2", "(2"), [f"(1) d{END}", f"(1) m{END}", f"(2) (2{END}"]),
    ("counting", row("assistant", "user", "1", "im_end"), [f"(4) user{END}", f"(6) im_end{END}"]),
    (
        "unmarked_calls",
        row("sun?", says("", tool_calls=call(ARGUMENTS)), {"role": "tool", "content": "d"}, says("d"), tools=TOOLS),
        [f'{{"name": "weather", "arguments": {JSON_CALL}}}', f"d{END}"],
    ),
    (
        "endless_calls",
        row("sun?", says("", tool_calls=call(ARGUMENTS))),
        [f' {{"name": "weather", "arguments": {JSON_CALL}}}{END}'],
    ),
    ("opened_thought", THOUGHT_INSIDE, [f"add\n</think>\n\n2{END}"]),
]


@pytest.mark.parametrize(("name", "one", "wanted"), EXPECTED)
def test_answers_carry_loss_as_the_template_writes_them(name: str, one: dict[str, Any], wanted: list[str]) -> None:
    made = encoder(name)
    assert pieces(made, one, SUPERVISED) == wanted
    assert made.fit(one, 10_000).unlike_asked == 0


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_the_tokens_before_the_first_answer_are_those_that_ask_for_it(name: str) -> None:
    made = encoder(name)
    for one in (row("hi", "hello"), row("<|im_end|>", "a"), {"messages": [SYSTEM, *row("hi", "hello")["messages"]]}):
        tokens = made.fit(one, 10_000).tokens
        first = tokens.kinds.tolist().index(SUPERVISED)
        assert made.ask(one["messages"][:-1]) == tokens.ids[:first]


def test_arguments_are_written_once_however_the_row_has_them() -> None:
    for name in ("qwen", "llama", "mistral"):
        made = encoder(name)
        written = [
            pieces(made, row("sun?", says("", tool_calls=call(one))), SUPERVISED) for one in (ARGUMENTS, JSON_CALL)
        ]
        assert written[0] == written[1]
        assert JSON_CALL in written[0][0]
    assert [template_of(name).arguments for name in ("qwen", "llama", "mistral", "chatml")] == [
        *("as_written", "object", "text", "as_written")
    ]
    with pytest.raises(TemplateRefusalError, match="are no JSON"):
        template_of("llama").render(row("sun?", says("", tool_calls=call("{")))["messages"])


@pytest.mark.parametrize(
    ("name", "one", "dropped", "left_out"),
    [
        ("chatml", THOUGHT, len("add"), 0),
        ("chatml", CALLS, len("weather" + JSON_CALL + "weather" + "It tells the weather."), 1),
        ("chatml", row("hi", says("I look", tool_calls=call({}))), len("weather{}"), 0),
        ("qwen", CALLS, 0, 0),
        ("llama", CALLS, len("weather" + "It tells the weather."), 0),
        ("llama", row("hi", says("I look", tool_calls=call({}))), len("I look"), 0),
        ("thinking", row("q", "<think>why</think>e", "c", "d"), len("why"), 0),
    ],
)
def test_only_what_is_missing_is_counted(name: str, one: dict[str, Any], dropped: int, left_out: int) -> None:
    fitted = encoder(name).fit(one, 10_000)
    assert (fitted.dropped_characters, fitted.left_out) == (dropped, left_out)


def test_rows_without_loss_are_set_aside_with_the_cause() -> None:
    for name, one, cause in (
        ("chatml", row("sun?", says("", tool_calls=call({}))), "writes nothing of its answers"),
        ("opened_thought", row("hi", "hello"), "asks for its answers behind another text"),
    ):
        aside = encoder(name).fit(one, 10_000).aside
        assert aside is not None
        assert (aside.rule, cause in aside.fix) == ("no_answer_left", True)


def test_what_a_template_does_with_answers_is_told() -> None:
    told = {
        name: " ".join(describe_template(encoder(name).template)) for name in ("mistral", "opened_thought", "llama")
    }
    assert "writes ' ' before an answer" in told["mistral"]
    assert "WARNING: the template asks for an answer behind another text" in told["opened_thought"]
    assert f"it is {DAY} here" in told["llama"]


@pytest.mark.parametrize("name", ["chatml", "gemma", "mistral", "deaf"])
def test_a_question_that_is_too_long_loses_its_beginning_and_nothing_before_it(name: str) -> None:
    made = encoder(name)
    one = {"messages": [SYSTEM, *row("the shop opens " * 20 + "at nine?", "here")["messages"]]}
    whole = made.tokenize(one)
    fitted = made.fit(one, len(whole.ids) - 30)
    text = str(made.tokenizer.decode(fitted.tokens.ids))
    assert fitted.aside is None
    assert len(fitted.tokens.ids) == len(whole.ids) - 30
    head, question, rest = whole.text.partition("the shop opens " * 20)
    assert text.startswith(head)
    assert "Be brief" in head
    assert text.endswith(rest)
    assert int(fitted.cut[CONTEXT]) == 30
    nothing = made.fit(one, len(made.tokenize({"messages": [SYSTEM, *row("", "here")["messages"]]}).ids) - 1)
    assert nothing.aside is not None
    assert question


@pytest.mark.parametrize("name", ["chatml", "gemma"])
def test_the_system_message_stays_where_the_oldest_turns_go(name: str) -> None:
    made = encoder(name)
    one = {"messages": [SYSTEM, *row("long " * 20, "ago", "and now", "here")["messages"]]}
    kept = {"messages": [SYSTEM, *row("and now", "here")["messages"]]}
    assert made.fit(one, 80).tokens.ids == made.tokenize(kept).ids


def test_marks_that_a_tokenizer_cannot_read_as_text_set_a_row_aside() -> None:
    tokenizer = build_tiny_tokenizer(ALL["chatml"])
    tokenizer.backend_tokenizer.pre_tokenizer = Metaspace(replacement="_", prepend_scheme="first")
    template = open_template(tokenizer, BaseSource("tiny", "tiny", Path(), None), None)
    made = ConversationEncoder(tokenizer, template, train_on="assistant", overlong="cut", known_tokens=len(tokenizer))
    aside = made.fit(row(f"what is {END}?", "a mark"), 1000).aside
    assert aside is not None
    assert (aside.rule, "holds a special token" in aside.fix) == ("template_refuses", True)
    assert made.fit(row("what is it?", "a mark"), 1000).aside is None


def test_marks_that_cannot_be_cut_set_a_row_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    made = encoder("chatml")
    one = row(f"what is {END}?", "a mark")
    assert made.fit(one, 1000).aside is None
    monkeypatch.setattr(made, "_stubborn", (END,))
    aside = made.fit(one, 1000).aside
    assert aside is not None
    assert aside.rule == "template_refuses"


def test_a_question_is_cut_between_characters() -> None:
    made = encoder("chatml")
    one = row("茶🚲" * 20, "here")
    whole = len(made.tokenize(one).ids)
    for limit in range(whole - 12, whole):
        fitted = made.fit(one, limit)
        assert fitted.aside is None
        assert "\ufffd" not in made.tokenizer.decode(fitted.tokens.ids)


def test_the_date_of_a_template_stays_what_it_was() -> None:
    template, made = template_of("llama"), encoder("llama")
    ids = made.ask(row("hi")["messages"])
    assert "Today: 09 Mar 2025\n" in str(made.tokenizer.decode(ids))
    described = {"template": template.describe(), "train_on": "assistant", "overlong": "cut"}
    again = restore_encoder(made.tokenizer, json.loads(json.dumps(described)), None)
    assert again.ask(row("hi")["messages"]) == ids
    assert template_of("llama", day="2025-03-10").digest != template.digest
    assert template_of("chatml").date == ""
    exact = template_of("", "{{ strftime_now('%-d/%m %H:%M:%S.%f 100%%') }}" + ALL["chatml"])
    written = exact.render(row("hi")["messages"])
    assert written.startswith("9/03 00:00:00.000000 100%<|im_start|>")
    prepared: Any = exact.prepare(row("hi")["messages"])
    options: Any = {"tokenize": False, "add_generation_prompt": False, **exact.plain_options}
    assert exact.tokenizer.apply_chat_template(prepared, **options) == written


def test_descriptions_of_before_are_read_as_they_were() -> None:
    template = template_of("llama")
    described = {key: value for key, value in template.describe().items() if key not in ("date", "arguments")}
    assert set(described) == {"digest", "text", "options", "folds_system", "end_mark"}
    again = restore_template(template.tokenizer, described)
    assert (again.date, again.arguments) == ("", "as_written")


TEXTS = st.text(st.sampled_from("ab \n<|im_end|>你\U0001f600") | st.characters(codec="utf-8"), max_size=20).filter(
    lambda text: text.strip()
)
NAMES = sorted({*TEMPLATES, *FAMILIES} - {"endless"})


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=3), st.sampled_from(NAMES), st.booleans())
def test_the_tokens_of_answers_are_just_those_that_carry_loss(
    turns: list[tuple[str, str]], name: str, has_system: bool
) -> None:
    made = encoder(name)
    one = row(*(text for turn in turns for text in turn))
    if has_system:
        one = {"messages": [SYSTEM, *one["messages"]]}
    fitted = made.fit(one, 10_000)
    assert (fitted.unlike_asked, fitted.left_out) == (0, 0)
    taught = made.tokenizer.decode(
        [t for t, k in zip(fitted.tokens.ids, fitted.tokens.kinds, strict=True) if k == SUPERVISED]
    )
    trims = name in ("strict", "llama", "gemma")
    answers = [
        answer.strip() if trims else answer.lstrip("\n") if name == "thinking" else answer for _, answer in turns
    ]
    lead = " " if name == "mistral" else ""
    assert taught == "".join(f"{lead}{answer}{END}" for answer in answers)
