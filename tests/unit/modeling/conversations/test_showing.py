"""What a look at one row says beside its tokens: what the template leaves out, and what it would ask otherwise."""

from __future__ import annotations

import pytest

from finetune30.modeling.conversations.encoder import ConversationEncoder
from finetune30.modeling.conversations.showing import show_row
from finetune30.modeling.conversations.template import ChatTemplate
from support.chat_models import CHATML, build_tiny_tokenizer

#: ChatML that leaves one role out, and one that asks for answers by another name than it writes them under.
LEAVES_OUT = CHATML.replace("{% for m in messages %}", "{% for m in messages if m['role'] != 'tool' %}")
ASKS_OTHERWISE = CHATML.replace("'<|im_start|>assistant\n'", "'<|im_start|>bot\n'")
MESSAGES = [
    {"role": "user", "content": "where is the shop"},
    {"role": "assistant", "content": "we look"},
    {"role": "tool", "content": "at the corner"},
    {"role": "assistant", "content": "at the corner, it says"},
]


@pytest.mark.parametrize(
    ("text", "dropped", "unlike"), [(CHATML, 0, 0), (LEAVES_OUT, len("at the corner"), 0), (ASKS_OTHERWISE, 0, 2)]
)
def test_a_row_says_what_its_template_leaves_out_and_which_answers_carry_no_loss(
    text: str, dropped: int, unlike: int
) -> None:
    tokenizer = build_tiny_tokenizer(text)
    template = ChatTemplate(tokenizer, text, end_mark="<|im_end|>")
    encoder = ConversationEncoder(tokenizer, template, train_on="assistant", overlong="cut", known_tokens=None)
    shown = show_row(encoder, {"messages": MESSAGES}, 1000)
    assert (shown.dropped_characters, shown.unlike_asked) == (dropped, unlike)
    assert (shown.counts["supervised"] == 0) == (unlike == 2)
    cut = show_row(encoder, {"messages": MESSAGES}, 30)
    assert (cut.dropped_characters, cut.unlike_asked) == (dropped, unlike)
