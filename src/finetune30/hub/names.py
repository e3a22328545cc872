"""Names of the hub: what a name may look like, and which repository the old one-word names stand for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeGuard

Kind = Literal["model", "dataset"]

#: How messages call a kind, and the keys of the configuration that name it.
WORDS: dict[Kind, str] = {"model": "model", "dataset": "data set"}
NAME_KEYS: dict[Kind, str] = {"model": "model.name", "dataset": "data.dataset_name"}
REVISION_KEYS: dict[Kind, str] = {"model": "model.revision", "dataset": "data.revision"}

_COMMIT = re.compile(r"[0-9a-f]{40}")
_NAME = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9_][\w.-]{0,94}(/[A-Za-z0-9_][\w.-]{0,94})?", re.ASCII)

# The hub itself answers a one-word name with the repository that it moved to. This table serves where the hub cannot be
# asked, for the names that the documentation, the presets and most tutorials use.
_CANONICAL: dict[Kind, dict[str, str]] = {
    "model": {
        "albert-base-v2": "albert/albert-base-v2",
        "bert-base-cased": "google-bert/bert-base-cased",
        "bert-base-chinese": "google-bert/bert-base-chinese",
        "bert-base-multilingual-cased": "google-bert/bert-base-multilingual-cased",
        "bert-base-uncased": "google-bert/bert-base-uncased",
        "bert-large-uncased": "google-bert/bert-large-uncased",
        "distilbert-base-cased": "distilbert/distilbert-base-cased",
        "distilbert-base-multilingual-cased": "distilbert/distilbert-base-multilingual-cased",
        "distilbert-base-uncased": "distilbert/distilbert-base-uncased",
        "distilroberta-base": "distilbert/distilroberta-base",
        "distilgpt2": "distilbert/distilgpt2",
        "gpt2": "openai-community/gpt2",
        "roberta-base": "FacebookAI/roberta-base",
        "roberta-large": "FacebookAI/roberta-large",
        "xlm-roberta-base": "FacebookAI/xlm-roberta-base",
        "xlm-roberta-large": "FacebookAI/xlm-roberta-large",
    },
    "dataset": {
        "ag_news": "fancyzhx/ag_news",
        "banking77": "legacy-datasets/banking77",
        "dbpedia_14": "fancyzhx/dbpedia_14",
        "emotion": "dair-ai/emotion",
        "glue": "nyu-mll/glue",
        "go_emotions": "google-research-datasets/go_emotions",
        "imdb": "stanfordnlp/imdb",
        "rotten_tomatoes": "cornell-movie-review-data/rotten_tomatoes",
        "snli": "stanfordnlp/snli",
        "sst2": "stanfordnlp/sst2",
        "super_glue": "aps/super_glue",
        "tweet_eval": "cardiffnlp/tweet_eval",
        "xnli": "facebook/xnli",
        "yelp_polarity": "fancyzhx/yelp_polarity",
        "yelp_review_full": "Yelp/yelp_review_full",
    },
}


@dataclass(frozen=True)
class Reference:
    """A repository at a commit: `asked` is the name as the configuration has it, `id` is `namespace/name`."""

    kind: Kind
    asked: str
    id: str
    commit: str

    def __str__(self) -> str:
        return f"{self.id} at {self.commit}"

    def describe(self) -> str:
        """Say what was asked for and what it is."""
        return str(self) if self.asked == self.id else f"{self.asked} is {self}"


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub lists it: bytes, and its digest where that is known.

    `sha256` is that of a large file's content; `blob_id`, for files that git itself keeps, git's sha1 of it.
    """

    size: int
    sha256: str | None = None
    blob_id: str | None = None


def is_commit(revision: str | None) -> TypeGuard[str]:
    """Return whether a revision is a whole commit hash, which never changes its meaning."""
    return revision is not None and _COMMIT.fullmatch(revision) is not None


def is_repository_name(name: str) -> bool:
    """Return whether the hub could have a repository of that name."""
    return _NAME.fullmatch(name) is not None and not name.endswith((".git", ".ipynb"))


def canonical_id(kind: Kind, name: str) -> str | None:
    """Return the repository behind a well-known one-word name, None for any other name."""
    return _CANONICAL[kind].get(name)


def well_known_name(kind: Kind, repository: str) -> str | None:
    """Return the one-word name of a well-known repository, None for any other."""
    return next((name for name, stands_for in _CANONICAL[kind].items() if stands_for == repository), None)
