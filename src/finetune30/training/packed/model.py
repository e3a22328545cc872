"""What a family assembles and an engine runs."""

from __future__ import annotations

from dataclasses import dataclass

from finetune30.training.packed.backbone import PackedBackbone
from finetune30.training.packed.backends import Parts
from finetune30.training.packed.heads.head import Head
from finetune30.training.packed.parameters import TrainableWeights


@dataclass(frozen=True)
class PackedModel:
    """Backbone and head over shared trained weights; `frozen_count` numbers are not trained."""

    backbone: PackedBackbone
    head: Head
    weights: TrainableWeights
    frozen_count: int
    parts: Parts
