"""Run by a Python that has TensorBoard: reads a folder of event files and prints what its reader finds, as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main(folder: str) -> None:
    from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-not-found]
        EventAccumulator,
    )

    found: dict[str, Any] = {}
    for run in sorted({path.parent for path in Path(folder).rglob("*tfevents*")}):
        events: Any = EventAccumulator(str(run), size_guidance={"scalars": 0, "tensors": 0})
        events.Reload()
        scalars = {
            tag: [(point.step, point.wall_time, point.value) for point in events.Scalars(tag)]
            for tag in events.Tags()["scalars"]
        }
        texts = {
            tag: [t.tensor_proto.string_val[0].decode() for t in events.Tensors(tag)]
            for tag in events.Tags()["tensors"]
        }
        plugins = {tag: events.SummaryMetadata(tag).plugin_data.plugin_name for tag in texts}
        name = run.relative_to(folder).as_posix()
        found[name] = {"scalars": scalars, "texts": texts, "plugins": plugins, "version": events.file_version}
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
