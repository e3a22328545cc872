"""The general engine: gradients, steps, states."""

import numpy as np
import pytest
import torch

from finetune30.config import TrainingConfig
from finetune30.data.batching import collate
from finetune30.modeling.devices import Placement
from finetune30.training import general
from finetune30.training.checkpoints import Checkpoints
from finetune30.training.general import GeneralEngine
from support.present import present
from support.rows import encoded_split

NO_DROPOUT = {"lora_dropout": 0.0}


def batch_of(split, rows):
    return collate(split, np.asarray(rows), 0)


def states_equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def evaluate_mode_gradient(engine, split, parts):
    """Accumulate without the base model's own dropout, so that sums can be compared."""
    engine._model.eval()
    engine._model.train = lambda mode=True: engine._model
    for part in parts:
        engine.accumulate(batch_of(split, part), 1.0 / 6)
    return {n: p.grad.clone() for n, p in engine._trainable.items() if p.grad is not None}


def test_micro_batches_give_the_gradient_of_the_whole_batch(build_engine):
    split = encoded_split(6)
    whole = evaluate_mode_gradient(build_engine(lora=NO_DROPOUT), split, [[0, 1, 2, 3, 4, 5]])
    parts = evaluate_mode_gradient(build_engine(lora=NO_DROPOUT), split, [[0, 1, 2, 3], [4], [5]])
    assert whole.keys() == parts.keys()
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", ["distilbert", "bert", "roberta", "llama"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_family_learns_in_both_precisions(build_engine, family, precision):
    split, engine = encoded_split(16), build_engine(family, precision=precision, lora={"r": 4})
    batch = batch_of(split, range(16))
    losses = []
    for _ in range(60):
        losses.append(float(engine.accumulate(batch, 1 / 16)) / 16)
        engine.step(0.05)
    assert min(losses[-5:]) < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("family", "lora"),
    [
        ("distilbert", {"bias": "lora_only"}),
        ("bert", {"bias": "all"}),
        ("distilbert", {"bias": "all", "target_modules": "all-linear", "use_dora": True}),
        ("bert", {"modules_to_save": ["embeddings", "LayerNorm"]}),
        ("llama", {"modules_to_save": ["norm", "embed_tokens", "mlp"]}),
    ],
)
def test_what_is_trained_within_the_base_has_the_gradient_of_float32_in_bf16(build_engine, family, lora):
    split = encoded_split(6)
    engines = {name: build_engine(family, precision=name, lora={**NO_DROPOUT, **lora}) for name in ("fp32", "bf16")}
    exact, rough = (evaluate_mode_gradient(engine, split, [range(6)]) for engine in engines.values())
    assert exact.keys() == rough.keys()
    assert any(".lora_" not in name and float(gradient.norm()) > 0 for name, gradient in exact.items())
    for name, gradient in exact.items():
        assert rough[name].dtype == torch.float32, name
        assert float((rough[name] - gradient).norm()) <= 0.1 * float(gradient.norm()) + 1e-3, name
    trainable = engines["bf16"]._trainable
    before = {name: parameter.detach().clone() for name, parameter in trainable.items()}
    engines["bf16"].step(0.01)
    assert all(not torch.equal(before[name], trainable[name]) for name in rough if rough[name].any())


@pytest.mark.parametrize(
    ("problem_type", "classes"),
    [("regression", 0), ("multi_label_classification", 3), ("single_label_classification", 5)],
)
def test_every_task_has_logits_of_its_shape_and_learns(build_engine, problem_type, classes):
    split = encoded_split(12, problem_type=problem_type, classes=classes)
    engine = build_engine(problem_type=problem_type, num_labels=classes)
    batch = batch_of(split, range(12))
    first = float(engine.accumulate(batch, 1 / 12))
    for _ in range(20):
        engine.step(0.02)
        last = float(engine.accumulate(batch, 1 / 12))
    assert engine.outputs(batch).shape == (12, classes or 1)
    assert last < first


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn])
def test_quantised_weights_are_never_cast(build_engine, dtype):
    engine = build_engine()
    stored = torch.tensor([1.0, 2.0, 4.0]).to(dtype)
    engine._model.get_base_model().register_parameter("packed", torch.nn.Parameter(stored, requires_grad=False))
    placed = GeneralEngine(
        engine._model,
        TrainingConfig(),
        Placement("cpu", "bf16", "test"),
        outputs=engine._outputs,
        loss=engine._loss,
        pad_token_id=0,
    )
    found = dict(placed._model.get_base_model().named_parameters())["packed"]
    assert found.dtype == dtype
    assert torch.equal(found.view(torch.uint8), stored.view(torch.uint8))


def test_logits_leave_the_random_streams_alone(build_engine):
    engine, split = build_engine(), encoded_split(4)
    before = engine.rng_state()
    engine.outputs(batch_of(split, range(4)))
    after = engine.rng_state()
    assert torch.equal(before["torch_cpu"], after["torch_cpu"])
    assert before["python"] == after["python"]
    assert before["numpy"] == after["numpy"]


def test_states_restore_the_next_step_bit_for_bit(build_engine):
    split = encoded_split(8)
    engine = build_engine()
    torch.manual_seed(3)
    for _ in range(3):
        engine.accumulate(batch_of(split, range(8)), 1 / 8)
        engine.step(0.01)
    saved = engine.adapter_state(), engine.optimizer_state(), engine.rng_state()
    engine.accumulate(batch_of(split, range(8)), 1 / 8)
    engine.step(0.01)

    other = build_engine(training={"seed": 99})
    other.load_adapter_state(saved[0])
    other.load_optimizer_state(saved[1])
    other.load_rng_state(saved[2])
    other.accumulate(batch_of(split, range(8)), 1 / 8)
    other.step(0.01)
    assert states_equal(engine.adapter_state(), other.adapter_state())
    assert states_equal(engine.optimizer_state(), other.optimizer_state())


def test_non_finite_gradient_leaves_weights_and_optimizer_untouched(build_engine):
    split, engine = encoded_split(4), build_engine()
    engine.accumulate(batch_of(split, range(4)), 1 / 4)
    engine.step(0.01)
    weights, optimizer = engine.adapter_state(), engine.optimizer_state()
    engine.accumulate(batch_of(split, range(4)), float("inf"))
    assert not torch.isfinite(engine.step(0.01))
    assert states_equal(weights, engine.adapter_state())
    assert states_equal(optimizer, engine.optimizer_state())


@pytest.mark.parametrize("max_grad_norm", [0.0, 1e-3, 1e6])
def test_steps_are_those_of_torch_after_its_clipping(build_engine, max_grad_norm):
    split = encoded_split(12)
    engine = build_engine(training={"max_grad_norm": max_grad_norm, "weight_decay": 0.1})
    weights = {name: torch.nn.Parameter(value.detach().clone()) for name, value in engine._trainable.items()}
    groups = [
        {"params": [w for name, w in weights.items() if "bias" not in name], "weight_decay": 0.1},
        {"params": [w for name, w in weights.items() if "bias" in name], "weight_decay": 0.0},
    ]
    reference = torch.optim.AdamW(groups, lr=0.01)
    for step, scale in enumerate((1.0, 30.0, 0.1)):  # AdamW forgets one scale, not a change of it
        engine.accumulate(batch_of(split, range(4 * step, 4 * step + 4)), scale)
        for name, weight in weights.items():
            weight.grad = engine._trainable[name].grad.clone()
        norm = torch.nn.utils.clip_grad_norm_(weights.values(), max_grad_norm or float("inf"))
        reference.step()
        torch.testing.assert_close(engine.step(0.01), norm, msg=f"norm of step {step}")
        for name, weight in weights.items():
            torch.testing.assert_close(engine._trainable[name].data, weight.data, msg=f"{name} after step {step}")


def build_scaled(build_engine, **training):
    """An engine with the loss scale that fp16 has on CUDA, on the CPU."""
    engine = build_engine(training=training)
    engine._scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=3)
    return engine


def test_an_overflow_in_one_process_is_one_in_all(build_engine, monkeypatch):
    engine = build_scaled(build_engine)
    before = {name: tensor.clone() for name, tensor in engine.adapter_state().items()}

    def sum_with_one_that_overflowed(parameters):
        parameters[0].grad.view(-1)[0] = float("inf")

    monkeypatch.setattr(general, "_sum_over_processes", sum_with_one_that_overflowed)
    engine.accumulate(batch_of(encoded_split(8), range(8)), 1 / 8)
    engine.step(0.01)
    assert states_equal(engine.adapter_state(), before)
    assert engine._scaler.get_scale() == 512.0


def test_loss_scale_of_fp16_goes_on_from_a_checkpoint(build_engine, tmp_path):
    split, engine = encoded_split(8), build_scaled(build_engine)
    batch = batch_of(split, range(8))
    for _ in range(5):  # the scale doubles after three steps; two more count towards the next time
        engine.accumulate(batch, 1 / 8)
        engine.step(0.01)
    Checkpoints(tmp_path, {}, keep=1).save(engine, {"global_step": 5}, None)

    resumed = build_scaled(build_engine, seed=99)
    saved = present(Checkpoints(tmp_path, {}, keep=1).load_latest(pytest.fail))
    resumed.load_adapter_state(saved.adapter)
    resumed.load_optimizer_state(saved.optimizer)
    assert resumed._scaler.state_dict() == engine._scaler.state_dict()
    assert resumed._scaler.get_scale() == 2048.0
    for one in (engine, resumed):
        one.load_rng_state(saved.rng)
        one.accumulate(batch, 1 / 8)
        one.step(0.01)
        assert one._scaler.get_scale() == 4096.0
    assert states_equal(engine.adapter_state(), resumed.adapter_state())
    assert states_equal(engine.optimizer_state(), resumed.optimizer_state())


def test_scaled_gradients_that_overflow_take_no_step_and_lower_the_scale(build_engine):
    split, engine = encoded_split(4), build_scaled(build_engine)
    weights = engine.adapter_state()
    engine.accumulate(batch_of(split, range(4)), float("inf"))
    engine.step(0.01)
    assert states_equal(weights, engine.adapter_state())
    assert engine._scaler.get_scale() == 512.0


def test_adapter_state_has_peft_names_and_the_whole_head(build_engine, tmp_path):
    from safetensors.torch import load_file

    engine = build_engine("distilbert")
    engine.save_adapter(tmp_path)
    saved = load_file(tmp_path / "adapter_model.safetensors")
    assert states_equal(saved, engine.adapter_state())
    heads = {name.split(".")[2] for name in saved if "lora" not in name}
    assert heads == {"classifier", "pre_classifier"}
    assert not (tmp_path / "README.md").exists()


@pytest.mark.parametrize("family", ["llama", "distilbert"])
def test_what_a_model_computes_for_itself_keeps_its_precision(build_engine, family):
    whole, rounded = (build_engine(family, precision=precision)._model for precision in ("fp32", "bf16"))
    expected = {name: buffer for name, buffer in whole.named_buffers() if buffer.is_floating_point()}
    found = {name: buffer for name, buffer in rounded.named_buffers() if buffer.is_floating_point()}
    assert found.keys() == expected.keys()
    assert any("inv_freq" in name for name in found) == (family == "llama")
    for name, buffer in found.items():
        assert buffer.dtype is torch.float32
        assert torch.equal(buffer, expected[name])
    frozen = [p for p in rounded.parameters() if not p.requires_grad and p.dim() > 1]
    assert {parameter.dtype for parameter in frozen} == {torch.bfloat16}
