"""Run by a Python that has the openai package: asks a server and prints what the client made of it, as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any


def main(address: str) -> None:
    import openai  # type: ignore[import-not-found]

    client: Any = openai.OpenAI(base_url=f"{address}/v1", api_key="unused", max_retries=0)
    messages = [{"role": "user", "content": "When do you open? 0"}]
    asked = {"model": "talk", "messages": messages, "max_tokens": 12, "temperature": 1.5, "seed": 5}
    found: dict[str, Any] = {"models": [model.id for model in client.models.list()]}
    whole = client.chat.completions.create(**asked)
    found["whole"] = {
        "text": whole.choices[0].message.content,
        "reason": whole.choices[0].finish_reason,
        "usage": whole.usage.model_dump(include={"prompt_tokens", "completion_tokens", "total_tokens"}),
        "model": whole.model,
    }
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    found["streamed"] = {
        "text": "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices),
        "role": chunks[0].choices[0].delta.role,
        "reasons": [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices],
        "usage": chunks[-1].usage.model_dump(include={"prompt_tokens", "completion_tokens", "total_tokens"}),
        "ids": len({chunk.id for chunk in chunks}),
    }
    text = whole.choices[0].message.content
    stop = text[-2:]
    found["cut"] = text[: text.index(stop)]
    # The helper takes an answer that was cut at max_tokens for a fault, so this one ends at a stop text.
    with client.chat.completions.stream(**asked, stop=stop) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    found["helper"] = {
        "done": "content.done" in kinds,
        "text": final.choices[0].message.content,
        "reason": final.choices[0].finish_reason,
    }
    completed = client.completions.create(model="talk", prompt="When do you", max_tokens=4, temperature=0)
    found["completion"] = {"text": completed.choices[0].text, "reason": completed.choices[0].finish_reason}
    found["errors"] = {}
    for name, change in (
        ("unknown model", {"model": "nothing"}),
        ("tools", {"tools": [{"type": "function", "function": {"name": "f"}}]}),
        ("n", {"n": 2}),
        ("temperature", {"temperature": -1}),
    ):
        try:
            client.chat.completions.create(**{**asked, **change})
        except openai.APIStatusError as error:
            said = {"kind": type(error).__name__, "param": error.param, "type": error.type, "message": error.message}
            found["errors"][name] = said
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
