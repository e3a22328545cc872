"""Part of Submit: what the API finds wrong with a configuration, in words."""

from __future__ import annotations

from typing import Any

from finetune30.ui.client import ApiError
from finetune30.ui.session import in_own_words, t

Json = dict[str, Any]


def sort_faults(error: ApiError) -> dict[str, list[str]]:
    """Return key -> what is wrong there, with the hint."""
    faults: dict[str, list[str]] = {}
    for fault in error.faults:
        faults.setdefault(str(fault.get("key") or ""), []).append(describe_fault(fault))
    return faults


def describe_fault(fault: Json) -> str:
    """Return what is wrong and what to do about it."""
    return t("form.and").join(in_own_words(str(fault[part])) for part in ("problem", "hint") if fault.get(part))
