"""The columns of data sets that pair a text (or two) with a target."""

from __future__ import annotations

from finetune30.data.problem import Role

#: Names that data sets give to their columns, most telling first.
TEXT = Role(
    "text",
    "text_column",
    "text",
    ("text", "sentence", "review", "content", "comment", "tweet", "question", "utterance", "body", "document"),
)
TEXT_PAIR = Role("text_pair", "text_pair_column", "text", is_optional=True)
LABEL = Role(
    "label",
    "label_column",
    "target",
    (
        "label",
        "labels",
        "category",
        "class",
        "target",
        "sentiment",
        "intent",
        "score",
        "rating",
        "stars",
        "topic",
        "coarse_label",
        "tag",
        "tags",
        "y",
    ),
)
TEXT_AND_LABEL = (TEXT, TEXT_PAIR, LABEL)
