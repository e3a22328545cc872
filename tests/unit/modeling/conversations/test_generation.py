"""Going on with tokens: the same as transformers' own greedy search, alone or together, and drawn by a seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from finetune30.errors import NotFiniteError
from finetune30.modeling.conversations.generation import NextTokens, Sampling, generate, stream
from finetune30.modeling.conversations.transformers_tokens import TransformersNextTokens
from support.chat_models import build_tiny_chat

PAD, STOP = 2, frozenset({2})
PROMPTS = [[5, 6, 7], [9], [11, 12, 13, 14, 15, 16]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = build_tiny_chat(tmp_path_factory.mktemp("generation"), tied=False)
    return AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()


@pytest.fixture
def lent(model: Any) -> NextTokens:
    return TransformersNextTokens(model, PAD)


def theirs(model: Any, prompt: list[int], count: int) -> list[int]:
    asked = torch.tensor([prompt])
    found = model.generate(
        asked,
        attention_mask=torch.ones_like(asked),
        do_sample=False,
        max_new_tokens=count,
        eos_token_id=list(STOP),
        pad_token_id=PAD,
    )
    return [token for token in found[0, len(prompt) :].tolist() if token not in STOP]


def test_greedy_answers_are_those_of_transformers_alone_and_together(model: Any, lent: NextTokens) -> None:
    wanted = [theirs(model, prompt, 12) for prompt in PROMPTS]
    together = generate(lent, PROMPTS, STOP, Sampling(12))
    assert [found.ids for found in together] == wanted
    alone = [generate(lent, [prompt], STOP, Sampling(12))[0].ids for prompt in PROMPTS]
    assert alone == wanted


PIECES = [("llama", {}), ("mistral", {"sliding_window": 4}), ("gpt2", {}), ("bloom", {})]


@pytest.mark.parametrize(("kind", "further"), PIECES)
def test_a_prompt_that_is_read_in_pieces_is_gone_on_with_as_one_that_is_read_at_once(
    kind: str, further: dict[str, Any]
) -> None:
    """Of a window too: a piece looks back at tokens that lie in earlier ones."""
    lent = TransformersNextTokens(build_decoder(kind, **further), PAD)
    prompt = [5 + place % 40 for place in range(23)]
    (whole,) = generate(lent, [prompt], frozenset(), Sampling(8))
    steps = [token for (token,) in stream(lent, [prompt], frozenset(), Sampling(8), 5)]
    assert steps == [None] * 4 + whole.ids
    with torch.inference_mode():
        wanted = lent.begin(1).read({0: prompt})
        rows = lent.begin(1)
        for start in range(0, 23, 5):
            found = rows.read({0: prompt[start : start + 5]})
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
    assert [token for (token,) in stream(lent, [prompt], frozenset(), Sampling(1), 23)] == whole.ids[:1]


def test_a_model_that_keeps_a_state_reads_its_prompt_at_once() -> None:
    lent = TransformersNextTokens(build_decoder("lfm2", layer_types=["conv", "full_attention"]), PAD)
    prompt = [5, 6, 7, 8, 9, 10, 11]
    (whole,) = generate(lent, [prompt], frozenset(), Sampling(3))
    assert [token for (token,) in stream(lent, [prompt], frozenset(), Sampling(3), 2)] == whole.ids


def build_decoder(kind: str, **further: Any) -> Any:
    """Return a language model of two layers, with drawn weights."""
    from transformers import AutoConfig

    torch.manual_seed(1)
    sizes = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 32, "num_key_value_heads": 1} if kind in ("llama", "mistral", "lfm2") else {}
    sizes = {"vocab_size": 64, "n_embd": 16, "n_layer": 2, "n_head": 2} if kind == "gpt2" else sizes
    sizes = {"vocab_size": 64, "hidden_size": 16, "n_layer": 2, "n_head": 2} if kind == "bloom" else sizes
    config = AutoConfig.for_model(kind, **sizes, **further, pad_token_id=PAD, bos_token_id=1, eos_token_id=2)
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()


def test_an_answer_ends_at_its_mark_and_says_so(lent: NextTokens) -> None:
    (free,) = generate(lent, PROMPTS[:1], frozenset(), Sampling(6))
    assert (len(free.ids), free.reason) == (6, "length")
    place = next(i for i, token in enumerate(free.ids) if token not in free.ids[:i])
    (ended,) = generate(lent, PROMPTS[:1], frozenset({free.ids[place]}), Sampling(6))
    assert (ended.ids, ended.reason) == (free.ids[:place], "stop")


def test_one_that_ended_says_nothing_more_while_others_go_on(lent: NextTokens) -> None:
    (first,) = generate(lent, PROMPTS[:1], frozenset(), Sampling(1))
    stops = frozenset(first.ids)
    steps = list(stream(lent, PROMPTS, stops, Sampling(5)))
    assert steps[0][0] == "stop"
    assert all(step[0] is None for step in steps[1:])
    assert len(steps) == 5 or any(isinstance(token, str) for step in steps for token in step[1:])


def test_no_position_is_used_that_the_model_does_not_know(model: Any, lent: NextTokens) -> None:
    limit = model.config.max_position_embeddings
    model.config.max_position_embeddings = 8
    try:
        (found,) = generate(lent, [[5, 6, 7]], frozenset(), Sampling(20))
    finally:
        model.config.max_position_embeddings = limit
    assert (len(found.ids), found.reason) == (5, "positions")


@pytest.fixture
def unmoved() -> Iterator[None]:
    before = torch.get_rng_state()
    yield
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.usefixtures("unmoved")
def test_the_same_seed_draws_the_same_answer_and_moves_no_other_stream(lent: NextTokens) -> None:
    drawn = [generate(lent, PROMPTS, STOP, Sampling(12, 1.0, seed=seed)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.usefixtures("unmoved")
@pytest.mark.parametrize("narrow", [{"top_k": 1}, {"top_p": 1e-9}])
def test_the_narrowest_drawing_is_greedy(lent: NextTokens, narrow: dict[str, Any]) -> None:
    greedy = generate(lent, PROMPTS, STOP, Sampling(8))
    assert generate(lent, PROMPTS, STOP, Sampling(8, 1.5, **narrow, seed=3)) == greedy


def test_drawing_follows_the_models_shares(model: Any, lent: NextTokens) -> None:
    with torch.inference_mode():
        shares = model(input_ids=torch.tensor([[5, 6, 7]])).logits[0, -1].softmax(dim=-1)
    first = [generate(lent, [[5, 6, 7]], frozenset(), Sampling(1, 1.0, top_k=4, seed=s))[0].ids[0] for s in range(300)]
    best = shares.topk(4)
    counts = torch.tensor([first.count(int(token)) for token in best.indices]) / 300
    assert set(first) <= set(best.indices.tolist())
    torch.testing.assert_close(counts, best.values / best.values.sum(), atol=0.12, rtol=0)


@pytest.mark.parametrize("sampling", [Sampling(3), Sampling(3, 1.0)], ids=["greedy", "drawn"])
@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_no_token_is_chosen_of_what_is_no_number(sampling: Sampling, number: str) -> None:
    class Unsound:
        positions, end_tokens = None, frozenset[int]()

        def begin(self, count: int) -> Unsound:
            return self

        @property
        def reads_on(self) -> bool:
            return False

        def read(self, tokens: Any) -> torch.Tensor:
            logits = torch.zeros((len(tokens), 4))
            logits[-1, 1 if number != "-inf" else slice(None)] = float(number)
            return logits

    with pytest.raises(NotFiniteError, match="the numbers of its next token are not finite"):
        generate(Unsound(), [[1], [2]], frozenset(), sampling)
