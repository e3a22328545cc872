"""Variants of LoRA on a language model: every one learns, goes on bit for bit, and is published for the plain base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from finetune30.config import LoraConfig, ModelConfig, TrainingConfig
from finetune30.config.loading import validate_tree
from finetune30.errors import ConfigError, ModelError
from finetune30.modeling.base import find_base, load_tokenizer
from finetune30.training.optimizer import build_optimizer, set_learning_rate
from finetune30.training.packing import pack
from support.chat_models import build_tiny_chat
from support.engines import build_general, configure
from support.language_engines import LanguageEngine, build_language_engine, logits_of

#: Changes of the section `lora`, and keys of `training`; each variant in the company of another.
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "pissa and rsLoRA": ({"init_lora_weights": "pissa", "use_rslora": True}, {"gradient_checkpointing": True}),
    "pissa_niter": ({"init_lora_weights": "pissa_niter_4", "use_dora": True}, {}),
    "olora and LoRA+": ({"init_lora_weights": "olora", "loraplus_lr_ratio": 4.0}, {}),
    "orthogonal": ({"init_lora_weights": "orthogonal"}, {}),
    "dora and noise": ({"use_dora": True}, {"neftune_noise_alpha": 5.0, "gradient_checkpointing": True}),
    "tokens": ({"trainable_token_indices": [3, 305]}, {}),
    "embeddings whole": ({"modules_to_save": ["embed_tokens"], "init_lora_weights": "pissa"}, {}),
    "head whole": ({"modules_to_save": ["lm_head"]}, {}),
}


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def base(request, tmp_path_factory):
    return build_tiny_chat(tmp_path_factory.mktemp("chat"), tied=request.param)


def built(base: Path, variant: str) -> LanguageEngine:
    lora, training = VARIANTS[variant]
    return build_language_engine(base, lora={"r": 4, **lora}, **training)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_matrix_moves_with_the_first_step(base, variant):
    trained = built(base, variant)
    before = trained.engine.adapter_state()
    first = trained.take_step()
    after = trained.engine.adapter_state()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert len({name for name in moved if "lora_B" in name}) == 2 * 7  # two layers: q, k, v, o, gate, up, down
    assert {name for name in before if not any(part in name for part in (".lora_A.", "token"))} <= moved
    for _ in range(4):
        last = trained.take_step()
    assert last < first


@pytest.mark.parametrize("variant", VARIANTS)
def test_states_restore_the_next_step_bit_for_bit(base, variant):
    trained = built(base, variant)
    torch.manual_seed(5)
    trained.take_step()
    engine = trained.engine
    saved = engine.adapter_state(), engine.optimizer_state(), engine.rng_state()
    trained.take_step()
    other = built(base, variant)
    other.engine.load_adapter_state(saved[0])
    other.engine.load_optimizer_state(saved[1])
    other.engine.load_rng_state(saved[2])
    other.take_step()
    assert other.engine.start_digest == engine.start_digest
    assert (engine.start_digest is not None) == LoraConfig(**VARIANTS[variant][0]).changes_base
    for states in ("adapter_state", "optimizer_state"):
        ours, theirs = getattr(engine, states)(), getattr(other.engine, states)()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("variant", VARIANTS)
def test_plain_peft_on_the_plain_base_answers_as_trained(base, variant, tmp_path):
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM

    trained = built(base, variant)
    with trained.engine.lend_base() as lent:
        untouched = logits_of(lent.model, trained)
    for _ in range(3):
        trained.take_step()
    trained.engine.save_adapter(tmp_path)
    load_tokenizer(find_base(ModelConfig(name=str(base)))).save_pretrained(str(tmp_path))
    with trained.engine.lend() as lent:
        learnt = logits_of(lent.model, trained)
    with trained.engine.lend_base() as lent:
        torch.testing.assert_close(logits_of(lent.model, trained), untouched)
    with trained.engine.lend() as lent:
        assert torch.equal(logits_of(lent.model, trained), learnt)

    plain = AutoModelForCausalLM.from_pretrained(base).eval()
    torch.testing.assert_close(untouched, logits_of(plain, trained), atol=1e-5, rtol=1e-4)
    assert float((learnt - untouched).abs().max()) > 0.01
    loaded: Any = AutoPeftModelForCausalLM.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(logits_of(loaded, trained), learnt, atol=1e-5, rtol=1e-4)
    merged = loaded.merge_and_unload()
    tied = plain.config.tie_word_embeddings
    assert (merged.get_input_embeddings().weight is merged.get_output_embeddings().weight) == tied
    merged.save_pretrained(tmp_path / "merged")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    torch.testing.assert_close(logits_of(again, trained), learnt, atol=1e-5, rtol=1e-4)
    assert (again.get_input_embeddings().weight is again.get_output_embeddings().weight) == tied


def test_only_the_embeddings_of_named_tokens_are_trained(base, tmp_path):
    trained = built(base, "tokens")
    model: Any = trained.engine._model
    rows = model.get_base_model().get_input_embeddings().weight.detach().clone()
    for _ in range(3):
        trained.take_step()
    merged: Any = model.merge_and_unload()
    changed = (merged.get_input_embeddings().weight != rows).any(dim=1).nonzero().flatten().tolist()
    assert set(changed) <= {3, 305}
    assert changed or not merged.config.tie_word_embeddings


def test_b_learns_faster_than_a(base):
    fast, whole = (
        build_language_engine(base, lora={"loraplus_lr_ratio": 8.0}),
        build_language_engine(base),
    )
    fast.take_step(0.001)
    whole.take_step(0.008)
    states = fast.engine.adapter_state(), whole.engine.adapter_state()
    names = [name for name in states[0] if "lora_B" in name]
    assert names
    assert all(torch.equal(states[0][name], states[1][name]) for name in names)


def test_groups_have_their_rates_and_decays():
    names = [
        "m.lora_A.default.weight",
        "m.lora_B.default.weight",
        "m.lora_B.default.bias",
        "e.lora_embedding_B.default",
    ]
    trainable = {name: torch.nn.Parameter(torch.ones(2)) for name in names}
    optimizer = build_optimizer(trainable, TrainingConfig(weight_decay=0.1), 16.0)
    set_learning_rate(optimizer, 0.5)
    found = {
        name: (group["lr"], group["weight_decay"])
        for name, parameter in trainable.items()
        for group in optimizer.param_groups
        if any(parameter is member for member in group["params"])
    }
    assert list(found.values()) == [(0.5, 0.1), (8.0, 0.1), (8.0, 0.0), (8.0, 0.1)]


def watch_embeddings(noisy: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return where the embeddings of every pass will stand, without noise and as they went on."""
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    embeddings = noisy.engine._model.get_base_model().get_input_embeddings()
    embeddings.register_forward_hook(lambda module, ids, out: seen.append((module.weight[ids[0]], out)))
    return seen


def test_noise_is_as_large_as_the_rows_own_length_says_and_never_on_padding(base):
    noisy = build_language_engine(base, neftune_noise_alpha=6.0)
    seen = watch_embeddings(noisy)
    batch = noisy.batch()
    noisy.engine.accumulate(batch, 1.0)
    before = noisy.engine.rng_state()["torch_cpu"]
    noisy.engine.outputs(batch)
    assert torch.equal(noisy.engine.rng_state()["torch_cpu"], before)
    (clean, trained_on), (without, evaluated) = seen
    assert torch.equal(without, evaluated)
    for row, length in enumerate(batch.lengths.tolist()):
        noise = (trained_on - clean)[row].abs()
        bound = 6.0 / (length * noise.shape[1]) ** 0.5
        assert bound * 0.9 < float(noise[:length].max()) <= bound * 1.0001
        assert not noise[length:].any()


def test_noise_in_packed_rows_is_that_of_each_row(base):
    noisy = build_language_engine(base, neftune_noise_alpha=6.0)
    noisy.engine.packs = True
    seen = watch_embeddings(noisy)
    batch = noisy.batch()
    noisy.engine.accumulate(batch, 1.0)
    ((clean, trained_on),) = seen
    packed = pack(batch, noisy.engine.pad_token_id)
    for (sequence, start), length in zip(packed.places, batch.lengths.tolist(), strict=True):
        noise = (trained_on - clean)[sequence, start : start + length].abs()
        bound = 6.0 / (length * noise.shape[1]) ** 0.5
        assert bound * 0.9 < float(noise.max()) <= bound * 1.0001


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ({"target_modules": ["q_proj", "lm_head"]}, "'lm_head' shares its weights with 'model.embed_tokens'"),
        ({"target_modules": ["q_proj", "embed_tokens"]}, "'model.embed_tokens' shares its weights with 'lm_head'"),
        ({"modules_to_save": ["model"], "target_modules": ["lm_head"]}, "shares its weights"),
        ({"modules_to_save": ["lm_head"], "trainable_token_indices": [3]}, "all embeddings"),
        ({"trainable_token_indices": [3, 400]}, "400 is no token of this model, which has embeddings for 309"),
        ({"init_lora_weights": "pissa", "r": 33}, "less than r 33"),
        ({"init_lora_weights": "olora", "r": 33}, "less than r 33"),
    ],
)
def test_what_would_come_out_wrong_is_refused(tmp_path, lora, message):
    base = build_tiny_chat(tmp_path / "base")
    with pytest.raises(ModelError, match=message):
        build_language_engine(base, lora=lora)


def test_olora_is_refused_where_weights_are_stored_the_other_way_round(tiny_model):
    config = configure(tiny_model("gpt2"), lora={"r": 2, "init_lora_weights": "olora"})
    with pytest.raises(ModelError, match=r"stores its weights as \(in, out\)"):
        build_general(config)


@pytest.mark.parametrize("init", ["pissa", "pissa_niter_16", "olora"])
@pytest.mark.parametrize(
    "other", [{"model": {"quantization": "nf4"}}, {"training": {"start_adapter": "old/final_model"}}]
)
def test_a_start_taken_out_of_the_base_needs_it_whole(init, other):
    with pytest.raises(ConfigError, match="takes its start out of the base weights"):
        validate_tree({"lora": {"init_lora_weights": init}, **other})


@pytest.mark.parametrize("wrong", ["pissa_niter_0", "pissa_niter_", "eva", "xpissa_niter_4"])
def test_other_starts_are_refused(wrong):
    with pytest.raises(ConfigError, match="pissa_niter_N"):
        validate_tree({"lora": {"init_lora_weights": wrong}})
