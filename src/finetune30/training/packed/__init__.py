"""The packed path for the families of BERT and Llama on CPUs: no padding, own backward passes, weights laid out."""

from finetune30.training.packed.engine import PackedEngine, build_packed_engine
from finetune30.training.packed.support import supports

__all__ = ["PackedEngine", "build_packed_engine", "supports"]
