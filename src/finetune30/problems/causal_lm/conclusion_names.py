"""What the figures and tables are called that are found once, at the end of a training."""

from __future__ import annotations

#: Before a figure's name: the same of the base model, without the adapter.
BASE = "base_"
#: The table of asked answers, as it is published, and the few of them that the metrics hold.
GENERATIONS, EXAMPLES = "generations", "examples"
#: How many evaluation rows were asked, and the share of training rows that the base model answers as wanted already.
ASKED_ROWS, NOTHING_NEW = "asked_rows", "train_nothing_new"
#: Loss a supervised token of the general conversations that the package carries, and how many of them.
GENERAL, GENERAL_ROWS = "general_loss", "general_rows"
