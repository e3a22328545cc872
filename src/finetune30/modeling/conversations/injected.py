"""What a chat template puts before a conversation by itself, such as a system message of its own."""

from __future__ import annotations

from finetune30.modeling.conversations.template import (
    ChatTemplate,
    TemplateRefusalError,
    special_marks,
    split_at,
    unused_marker,
)

#: Characters of it that are shown.
_SHOWN = 400


def find_injected(template: ChatTemplate) -> str:
    """Return what stands before a first question and not before a later one; "" where that is marks alone.

    A conversation that begins with a system message may have another text in its place, or none.
    """
    marker = unused_marker([template.text])
    roles = ("user", "assistant", "user")
    messages = [{"role": role, "content": marker.format(place)} for place, role in enumerate(roles)]
    try:
        text = template.render(messages, asks=True)
    except TemplateRefusalError:
        return ""
    first, _, rest = text.partition(marker.format(0))
    later = rest.partition(marker.format(1))[2].partition(marker.format(2))[0]
    pairs = zip(reversed(first), reversed(later), strict=False)
    shared = next((count for count, (a, b) in enumerate(pairs) if a != b), min(len(first), len(later)))
    injected = first[: len(first) - shared]
    marks = special_marks(template.tokenizer)
    said = [part for part in split_at(injected, marks) if part not in marks and part.strip()]
    return injected if said else ""


def describe_injected(template: ChatTemplate | None) -> list[str]:
    """Return the line of the log that says what a template puts before a conversation, none where that is nothing."""
    injected = "" if template is None else find_injected(template)
    if not injected:
        return []
    shown = injected if len(injected) <= _SHOWN else f"{injected[:_SHOWN]}…"
    return [f"before a conversation without a system message the template writes {shown!r}"]
