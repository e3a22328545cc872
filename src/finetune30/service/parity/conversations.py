"""The serving reference of a language model: tokens that ask, and the tokens that it goes on with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from finetune30.modeling.conversations.generation import PIECE, Sampling, generate
from finetune30.modeling.conversations.rendering import ASSISTANT
from finetune30.modeling.conversations.template import TemplateRefusalError
from finetune30.service.parity.found import Found, Referred
from finetune30.service.parity.predictions import hold_predictions
from finetune30.values import say_count

if TYPE_CHECKING:
    import polars as pl

    from finetune30.data.problem import Problem
    from finetune30.modeling.conversations.chat_model import ChatModel
    from finetune30.service.parity.predictions import Published
    from finetune30.training.engine import Engine
    from finetune30.training.problem import Trainable

MOST_ROWS = 64
#: Rows whose tokens are kept, and of these the ones that are gone on with, so many tokens each.
_ASKED, _ANSWERED, NEW_TOKENS = 20, 4, 32
#: Of a plain text, the characters that are gone on with.
_OPENING = 40
_BATCH = 8


def refer_conversations(
    model: ChatModel, trainable: Trainable, problem: Problem, rows: pl.DataFrame, published: Published
) -> Referred:
    """Ask the model about evaluation rows (prepared ones), and hold it against what the run predicted."""
    import polars as pl

    trees = (json.loads(row) for row in rows["conversation"].to_list())
    asked = [one for one in (_asking(model, tree) for tree in trees) if one is not None]
    asked = asked[:_ASKED]
    ids = [_encode(model, one) for one in asked]
    answers = _go_on(model, ids[:_ANSWERED])
    reference = pl.DataFrame(
        {
            "asked": [json.dumps(one, ensure_ascii=False) for one in asked],
            "ids": pl.Series(ids, dtype=pl.List(pl.Int64)),
            "tokens": pl.Series([*answers, *[None] * (len(ids) - len(answers))], dtype=pl.List(pl.Int64)),
        }
    )
    found = repeat_conversations(model, reference)
    split = problem.encode(rows, model.encoder, trainable.targets, model.max_length)  # type: ignore[arg-type]
    evaluated = trainable.evaluate(cast("Engine", model), split, _BATCH)
    found.add(hold_predictions(problem.predictions(split, evaluated.outputs, trainable.targets), published))
    return Referred(reference, found)


def repeat_conversations(model: ChatModel, reference: pl.DataFrame) -> Found:
    """Ask for the tokens of a reference again, all together and one by one; every one must be the same."""
    found = Found()
    asked = [json.loads(one) for one in reference["asked"].to_list()]
    wanted = [one.to_list() for one in reference["ids"]]
    others = sum(_encode(model, one) != ids for one, ids in zip(asked, wanted, strict=True))
    if others:
        found.faults.append(f"{others} of {say_count(len(asked), 'conversations are')} read as other tokens")
    answers = [one for one in reference["tokens"].to_list() if one is not None]
    prompts = wanted[: len(answers)]
    alone = [_go_on(model, [prompt])[0] for prompt in prompts]
    for name, given in (("in a batch", _go_on(model, prompts)), ("alone", alone)):
        if parted := sum(one != other for one, other in zip(given, answers, strict=True)):
            found.faults.append(f"asked {name}, it goes on with other tokens after {parted} of {len(answers)} prompts")
    if not any(answers):
        found.faults.append(
            f"nothing could be asked: {say_count(len(asked), 'conversations')}, {len(answers)} prompts, no tokens"
        )
    found.figures["conversations"] = {"asked": len(asked), "equal": len(asked) - others}
    found.figures["greedy"] = {"prompts": len(answers), "tokens": sum(map(len, answers))}
    return found


def _asking(model: ChatModel, tree: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what asks for the last answer of a row, as it can be asked over HTTP; None where a row asks nothing."""
    if "messages" not in tree or model.encoder.template is None:
        text = str(tree.get("prompt") or tree.get("text") or "")[:_OPENING]
        return {"prompt": text} if text.strip() else None
    messages = list(tree["messages"])
    while messages and messages[-1]["role"] == ASSISTANT:
        messages.pop()
    asked = [{"role": one["role"], "content": one["content"]} for one in messages]
    if not asked or not all(isinstance(one["content"], str) for one in asked):
        return None
    try:
        model.encoder.ask(asked)
    except TemplateRefusalError:  # such a row was set aside
        return None
    return {"messages": asked}


def _encode(model: ChatModel, asked: Mapping[str, Any]) -> list[int]:
    return model.ask(asked["messages"]) if "messages" in asked else model.encoder.ask_text(asked["prompt"])


def _go_on(model: ChatModel, prompts: Sequence[list[int]]) -> list[list[int]]:
    """Return what the model goes on with; one prompt alone is read in pieces, as it is where it is served."""
    if not prompts:
        return []
    sampling = Sampling(max_new_tokens=NEW_TOKENS)
    return [one.ids for one in generate(model.next_tokens, prompts, model.stops, sampling, PIECE)]
