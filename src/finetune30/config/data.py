"""The section about rows: where they come from, which split they belong to, how many are used."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from finetune30.config.example import DEFAULT_DATASET, DEFAULT_DATASET_CONFIG, EXAMPLE
from finetune30.config.field_types import ENCODINGS, REVISIONS, Column, Encoding, FilePath, Name, Revision, Section
from finetune30.config.holds import Holds
from finetune30.config.validation import GateConfig, ValidationRules

ConversationFormat = Literal["auto", "messages", "sharegpt", "alpaca", "prompt_completion", "question_answer", "text"]


class DataConfig(Section):
    """Where rows come from and how many are used."""

    dataset_name: Annotated[str, Holds.DATASET] = Field(
        DEFAULT_DATASET,
        min_length=1,
        max_length=1000,
        description="Hub set, local file or folder, 'starter', 'starter-zh', 'starter-chat' (conversations) or "
        "'version:<digest or tag>'.",
    )
    dataset_config: Name | None = Field(
        DEFAULT_DATASET_CONFIG,
        max_length=200,
        description=f"Hub configuration (subset) name. Left out, it is null for any data set but {DEFAULT_DATASET}.",
    )
    revision: Revision | None = Field(
        None,
        description="Hub branch, tag or commit of the data set to pin; null: the newest.",
        json_schema_extra={"allowed": REVISIONS},
    )
    encoding: Encoding | None = Field(
        None,
        description="Encoding of local text files that are not UTF-8, such as big5 or cp1252; null: told from the "
        "bytes where that is certain, and reported.",
        json_schema_extra={"allowed": ENCODINGS},
    )
    sheet: Name | None = Field(
        None,
        min_length=1,
        max_length=500,
        description="Sheet of a workbook (.xlsx, .ods), or file inside of a .zip; null: the only one that holds rows.",
    )
    train_split: Name | None = Field(None, max_length=200, description="Split to train on; null: 'train'.")
    eval_split: Name | None = Field(
        None,
        max_length=200,
        description="Split to evaluate on; null: validation, else test, else split off from train.",
    )
    eval_file: FilePath | None = Field(None, max_length=1000, description="File with the evaluation rows (local data).")
    eval_fraction: float = Field(
        0.1, gt=0.0, lt=1.0, description="Share split off (stratified, seeded) when there is no evaluation set."
    )
    test_split: Name | None = Field(
        None,
        max_length=200,
        description="Split kept for a test: neither read nor split off from while training; null: none named. "
        "Opened with: ft30 test RUN.",
    )
    test_file: FilePath | None = Field(
        None, max_length=1000, description="File with the test rows, not opened before ft30 test RUN (local data)."
    )
    test_fraction: float | None = Field(
        None,
        gt=0.0,
        lt=1.0,
        description="Share of the training rows set aside as test rows (stratified, seeded), before evaluation rows "
        "are split off; null: none.",
    )
    split_seed: int | None = Field(
        None,
        ge=0,
        le=2**32 - 1,
        description="Seed of which rows are split off and sampled; null: training.seed, so that another seed also "
        "judges other rows.",
    )
    group_column: Column | None = Field(
        None,
        description="Column whose rows of one value belong together (author, document, patient): they stay on one side "
        "of a split and in one fold, and runs are compared group by group; null: rows are independent.",
    )
    text_column: Column | None = Field(None, description="Column of the text; null: detected and reported.")
    text_pair_column: Column | None = Field(
        None, description="Column of the second text of a pair; null: none or detected."
    )
    label_column: Column | None = Field(None, description="Column of the label; null: detected and reported.")
    label_columns: Annotated[list[Column], Field(min_length=2, max_length=10_000)] | None = Field(
        None, description="Columns of 0 and 1, one a class, in the place of a label column; null: none."
    )
    label_separator: Annotated[str, Holds.TEXT] | None = Field(
        None, min_length=1, max_length=5, description="Separator of several labels in one cell (multi-label data)."
    )
    conversation_format: ConversationFormat = Field(
        "auto", description="How conversations stand in rows (causal_lm); auto: told row by row and reported."
    )
    train_samples: int | None = Field(
        500,
        ge=2,
        le=100_000_000,
        description=f"Rows to train on; null: all. Left out, it is null for any data but {EXAMPLE}.",
    )
    eval_samples: int | None = Field(
        100,
        ge=1,
        le=100_000_000,
        description=f"Rows to evaluate on; null: all. Left out, it is null for any data but {EXAMPLE}.",
    )
    max_length: int = Field(
        128,
        ge=4,
        le=131_072,
        description="Longest input in tokens; longer ones are truncated. Left out, it is 1024 for causal_lm.",
    )
    allow_unknown_tokens: bool = Field(
        False,
        description="Train also where the tokenizer has no token for more than 30 % of the texts' tokens.",
    )
    offline_fallback: Literal["starter", "starter-zh"] | None = Field(
        None, description="What to use when the default data set cannot be reached; data you chose never falls back."
    )
    validation_rules: ValidationRules = Field(ValidationRules(), description="Rules for every row.")
    gate: GateConfig = Field(GateConfig(), description="What happens to faulty rows.")

    @model_validator(mode="after")
    def _one_place_for_labels(self) -> DataConfig:
        if self.label_columns is None:
            return self
        if self.label_column is not None:
            raise ValueError("label_column and label_columns cannot both say where the labels are")
        if twice := sorted({name for name in self.label_columns if self.label_columns.count(name) > 1}):
            raise ValueError(f"label_columns names {twice[0]!r} twice")
        return self

    @model_validator(mode="after")
    def _groups_are_neither_text_nor_label(self) -> DataConfig:
        read = (self.text_column, self.text_pair_column, self.label_column, *(self.label_columns or ()))
        if self.group_column is not None and self.group_column in read:
            raise ValueError(f"group_column {self.group_column!r} is read as text or label: name another column")
        return self

    @model_validator(mode="after")
    def _one_place_for_test_rows(self) -> DataConfig:
        given = [name for name in ("test_split", "test_file", "test_fraction") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} cannot both say which rows are kept for a test: give one")
        if self.test_split is not None and self.test_split in (self.eval_split, self.train_split or "train"):
            raise ValueError(f"test_split {self.test_split!r} is trained or evaluated on: name another split")
        if self.test_file is not None and self.test_file == self.eval_file:
            raise ValueError("test_file is eval_file: rows that are evaluated on are no test")
        return self

    @model_validator(mode="before")
    @classmethod
    def _default_config_belongs_to_default_dataset(cls, tree: Any) -> Any:
        if not isinstance(tree, dict) or "dataset_config" in tree:
            return tree
        named = tree.get("dataset_name", DEFAULT_DATASET)
        return tree if named == DEFAULT_DATASET else {**tree, "dataset_config": None}

    @model_validator(mode="before")
    @classmethod
    def _default_limits_belong_to_the_example(cls, tree: Any) -> Any:
        if not isinstance(tree, dict):
            return tree
        named = tree.get("dataset_name", DEFAULT_DATASET), tree.get("dataset_config", DEFAULT_DATASET_CONFIG)
        if named == (DEFAULT_DATASET, DEFAULT_DATASET_CONFIG):
            return tree
        return {"train_samples": None, "eval_samples": None, **tree}
