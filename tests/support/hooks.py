"""What a training tells, kept for tests."""

from __future__ import annotations

from typing import Any

from finetune30.training.progress import Progress


class RecordingHooks:
    """Hooks that keep what they are told; `stop_at` asks to stop after that step."""

    def __init__(self, stop_at: int | None = None, reason: str = "cancelled") -> None:
        self.records: list[dict[str, Any]] = []
        self.losses: list[float | None] = []
        self.steps = 0
        self._stop_at, self._reason = stop_at, reason

    def on_progress(self, progress: Progress) -> None:
        if progress.global_step != self.steps:  # an evaluation takes no step
            self.losses.append(progress.last_loss)
        self.steps = progress.global_step

    def on_record(self, record: dict[str, Any]) -> None:
        self.records.append(record)

    def stop_reason(self) -> str | None:
        return self._reason if self._stop_at is not None and self.steps >= self._stop_at else None

    def untimed(self) -> list[dict[str, Any]]:
        """Records without what a clock decides."""
        return [
            {k: v for k, v in record.items() if "per_second" not in k and "runtime" not in k} for record in self.records
        ]
