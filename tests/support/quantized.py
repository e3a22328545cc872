"""What tests of rounded base models need: bitsandbytes, else they are skipped and say so."""

from __future__ import annotations

import pytest

from finetune30.modeling.quantization import quantization_version

needs_bitsandbytes = pytest.mark.skipif(
    quantization_version() is None, reason="bitsandbytes is not installed (pip install -e '.[quantization]')"
)
