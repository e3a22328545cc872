"""What carries loss in a rendered conversation, under chat templates of every kind."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune30.errors import ModelError
from finetune30.modeling.base import BaseSource
from finetune30.modeling.conversations.injected import describe_injected, find_injected
from finetune30.modeling.conversations.opening import open_template
from finetune30.modeling.conversations.rendering import render_row
from finetune30.modeling.conversations.template import TemplateRefusalError
from finetune30.modeling.conversations.template_files import asks_clock
from support.chat_families import MISLEADING
from support.chat_models import TEMPLATES, build_tiny_tokenizer

TOKENIZER = build_tiny_tokenizer(None)


@cache
def opened(name):
    tokenizer = build_tiny_tokenizer({**TEMPLATES, **MISLEADING}[name])
    return open_template(tokenizer, BaseSource("tiny", "tiny", Path(), None), None)


def conversation(*turns, **more):
    return {"messages": [{"role": role, "content": content} for role, content in turns], **more}


def supervised(row, template, train_on="assistant"):
    rendering = render_row(row, template, train_on)
    return [rendering.text[span.start : span.stop] for span in rendering.supervised]


TWO_TURNS = conversation(("user", "hi"), ("assistant", "hello"), ("user", "bye"), ("assistant", "see you"))


@pytest.mark.parametrize("name", ["chatml", "injecting", "strict", "deaf"])
def test_answers_with_their_end_marks_carry_loss_and_nothing_else(name):
    assert supervised(TWO_TURNS, opened(name)) == ["hello<|im_end|>", "see you<|im_end|>"]


def test_the_last_answer_or_every_message_may_be_asked_for():
    template = opened("chatml")
    assert supervised(TWO_TURNS, template, "last") == ["see you<|im_end|>"]
    assert supervised(TWO_TURNS, template, "all") == ["hi", "hello<|im_end|>", "bye", "see you<|im_end|>"]


@pytest.mark.parametrize("name", ["chatml", "strict"])
def test_a_turn_without_weight_is_read_and_not_learnt(name):
    silent = conversation(("system", "Be brief"), *((m["role"], m["content"]) for m in TWO_TURNS["messages"]))
    silent["messages"][2]["weight"] = 0
    template = opened(name)
    assert supervised(silent, template) == ["see you<|im_end|>"]
    assert "hello<|im_end|>" not in supervised(silent, template, "all")
    silent["messages"][4]["weight"] = 0
    assert supervised(silent, template, "last") == []
    whole = render_row(silent, template, "assistant").text
    assert "hello" in whole
    assert "weight" not in whole


def test_a_system_message_is_folded_where_the_template_has_no_place_for_it():
    row = conversation(("system", "Be brief"), ("user", "hi"), ("assistant", "yo"))
    for name in ("strict", "deaf"):
        template = opened(name)
        assert template.folds_system
        assert "Be brief\n\nhi" in render_row(row, template, "assistant").text
        assert supervised(row, template) == ["yo<|im_end|>"]
    assert not opened("chatml").folds_system


def test_what_a_template_puts_before_a_conversation_is_told():
    assert find_injected(opened("injecting")) == "<|im_start|>system\nBe kind"
    assert "'<|im_start|>system\\nBe kind'" in describe_injected(opened("injecting"))[0]
    for name in ("chatml", "deaf", "thinking", "endless"):
        assert describe_injected(opened(name)) == []
    assert describe_injected(None) == []


def test_a_template_that_raises_names_its_reason():
    with pytest.raises(TemplateRefusalError, match="roles must alternate"):
        render_row(conversation(("user", "a"), ("user", "b"), ("assistant", "c")), opened("strict"), "assistant")


def test_thoughts_that_the_template_puts_in_by_itself_carry_no_loss():
    template = opened("thinking")
    assert template.options == {"enable_thinking": False}
    row = conversation(("user", "hi"), ("assistant", "yo"))
    assert "<think>\n\n</think>\n\nyo" in render_row(row, template, "assistant").text
    assert supervised(row, template) == ["yo<|im_end|>"]


def test_answers_carry_loss_under_the_options_that_ask_for_them_where_they_stand():
    template = opened("thinking")
    assert supervised(TWO_TURNS, template) == ["hello<|im_end|>", "see you<|im_end|>"]
    thought = conversation(("user", "1+1"), ("assistant", "<think>\nadd\n</think>\n\n2"))
    assert supervised(thought, template) == ["<think>\nadd\n</think>\n\n2<|im_end|>"]


def refusing(condition, said):
    return f"{{% if {condition} %}}{{{{ raise_exception('{said}') }}}}{{% endif %}}"


OFF = "enable_thinking is defined and not enable_thinking"
HELD = "'</think>' in (messages | map(attribute='content') | join)"
PLAIN, THOUGHT = (conversation(("user", "1+1"), ("assistant", said)) for said in ("2", "<think>\nadd\n</think>\n\n2"))


def opened_text(text):
    return open_template(build_tiny_tokenizer(text), BaseSource("tiny", "tiny", Path(), None), None)


def test_options_under_which_a_template_refuses_a_row_are_no_choice_for_it():
    template = opened_text(refusing(f"{OFF} and {HELD}", "no thoughts here") + TEMPLATES["thinking"])
    assert template.options == {"enable_thinking": False}
    assert supervised(THOUGHT, template) == ["<think>\nadd\n</think>\n\n2<|im_end|>"]
    rendering = render_row(THOUGHT, template, "assistant")
    assert (rendering.asked_with, rendering.refused) == ({}, ("with enable_thinking False: no thoughts here",))
    assert supervised(PLAIN, template) == ["2<|im_end|>"]
    assert render_row(PLAIN, template, "assistant").refused == ()


def test_a_row_that_is_refused_under_all_options_says_each_of_them():
    words = refusing(f"{OFF} and {HELD}", "no thoughts here") + refusing(f"not ({OFF}) and {HELD}", "too clever")
    with pytest.raises(TemplateRefusalError) as refused:
        render_row(THOUGHT, opened_text(words + TEMPLATES["thinking"]), "assistant")
    assert str(refused.value) == "with enable_thinking False: no thoughts here; without options: too clever"
    same = refusing(HELD, "no thoughts here") + TEMPLATES["thinking"]
    with pytest.raises(TemplateRefusalError, match=r"^no thoughts here$"):
        render_row(THOUGHT, opened_text(same), "assistant")


def test_a_template_that_wants_an_option_is_opened_with_it():
    template = opened_text(refusing("enable_thinking is not defined", "say whether to think") + TEMPLATES["thinking"])
    assert template.options == {"enable_thinking": False}
    assert supervised(PLAIN, template) == ["2<|im_end|>"]


def test_an_answer_that_would_be_asked_behind_another_text_carries_no_loss_and_is_counted():
    rendering = render_row(TWO_TURNS, opened("opened_thought"), "assistant")
    assert (rendering.supervised, rendering.unlike_asked) == ((), 2)
    begun = conversation(("user", "1+1"), ("assistant", "<think>\nadd\n</think>\n\n2"))
    assert supervised(begun, opened("opened_thought")) == ["add\n</think>\n\n2<|im_end|>"]


def test_what_the_template_leaves_out_is_counted():
    row = conversation(("user", "a"), ("assistant", "<think>long thoughts</think>b"), ("user", "c"), ("assistant", "d"))
    assert render_row(row, opened("thinking"), "assistant").dropped == len("long thoughts")
    assert supervised(row, opened("thinking")) == ["b<|im_end|>", "d<|im_end|>"]


def test_an_answer_without_an_end_mark_ends_with_the_end_token():
    rendering = render_row(conversation(("user", "hi"), ("assistant", "yo")), opened("endless"), "assistant")
    assert rendering.wants_end
    assert [rendering.text[span.start : span.stop] for span in rendering.supervised] == [" yo"]  # asked without a space
    assert rendering.text == "user: hi\nassistant: yo"


def test_contents_that_look_like_the_template_are_found_where_they_stand():
    row = conversation(("user", "user"), ("assistant", "assistant\n"), ("user", "<|im_end|>"), ("assistant", "user"))
    assert supervised(row, opened("chatml")) == ["assistant\n<|im_end|>", "user<|im_end|>"]
    rendering = render_row(row, opened("chatml"), "assistant")
    held = [rendering.text[span.start : span.stop] for span in rendering.contents]
    assert held == [message["content"] for message in row["messages"]]


def test_prompts_and_texts_are_taken_as_they_stand():
    rendering = render_row({"prompt": "Answer: ", "completion": "yes"}, None, "assistant")
    assert (rendering.text, rendering.wants_end) == ("Answer: yes", True)
    assert [(span.start, span.stop) for span in rendering.supervised] == [(8, 11)]
    assert render_row({"text": "a b"}, None, "assistant").supervised[0].stop == 3


def test_conversations_need_a_template():
    with pytest.raises(ModelError, match="no chat template"):
        render_row(TWO_TURNS, None, "assistant")
    assert open_template(TOKENIZER, BaseSource("tiny", "tiny", Path(), None), None) is None
    chatml = open_template(TOKENIZER, BaseSource("tiny", "tiny", Path(), None), "chatml")
    assert supervised(TWO_TURNS, chatml) == ["hello<|im_end|>", "see you<|im_end|>"]


def test_a_template_that_cannot_be_used_is_refused(tmp_path):
    source = BaseSource("tiny", "tiny", tmp_path, None)
    (tmp_path / "broken.jinja").write_text("{% for %}")
    with pytest.raises(ModelError, match="cannot render a question"):
        open_template(TOKENIZER, source, str(tmp_path / "broken.jinja"))
    with pytest.raises(ModelError, match="cannot be read"):
        open_template(TOKENIZER, source, str(tmp_path / "absent.jinja"))


CONTENTS = st.text(
    st.sampled_from("ab \n<|im_end|>你\U0001f600").map(str) | st.characters(codec="utf-8"), min_size=1, max_size=30
).filter(lambda text: text.strip())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(CONTENTS, CONTENTS), min_size=1, max_size=4), st.sampled_from(["chatml", "injecting", "deaf"])
)
def test_the_characters_of_answers_are_just_those_that_carry_loss(turns, name):
    row = conversation(*(pair for question, answer in turns for pair in (("user", question), ("assistant", answer))))
    assert supervised(row, opened(name)) == [f"{answer}<|im_end|>" for _, answer in turns]


PROGRAMS = [
    "{{ 1 // 0 }}",
    "{% for i in range(10 ** 9) %}{% endfor %}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
]


@pytest.mark.parametrize("text", PROGRAMS)
def test_a_template_that_fails_as_a_program_is_refused(tmp_path, text):
    path = tmp_path / "fails.jinja"
    path.write_text(text)
    with pytest.raises(ModelError, match="cannot render a question and its answer"):
        open_template(TOKENIZER, BaseSource("tiny", "tiny", tmp_path, None), str(path))


@pytest.mark.parametrize("wanted", ["a" * 300, "~nobody-of-this-name/a.jinja", "a\0b"])
def test_a_template_that_no_path_leads_to_is_refused(wanted):
    source = BaseSource("tiny", "tiny", Path(), None)
    assert not asks_clock(source, wanted)
    with pytest.raises(ModelError, match=r"chat\.template: .* cannot be read"):
        open_template(TOKENIZER, source, wanted)
