"""How a base model is quantised for a training, as it is written beside the adapter; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

QUANTIZING_PACKAGE = "bitsandbytes"


@dataclass(frozen=True)
class Quantization:
    """`method` is nf4 (4 bits, with double quantisation) or int8; `whole` are modules that are left as they are."""

    method: str
    whole: tuple[str, ...] = ()

    @classmethod
    def restore(cls, described: Mapping[str, Any]) -> Quantization:
        """Return what `describe` described."""
        return cls(described["method"], tuple(described["whole"]))

    def describe(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"method": self.method, "whole": list(self.whole)}

    def settings(self, dtype: str) -> dict[str, Any]:
        """Return the arguments of transformers' BitsAndBytesConfig; `dtype` is torch's name of what is computed in."""
        whole = {"llm_int8_skip_modules": list(self.whole)}
        if self.method == "int8":
            return {"load_in_8bit": True, **whole}
        four_bits = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
        return {**four_bits, "bnb_4bit_compute_dtype": dtype, **whole}
