"""The example: the model and the data that a configuration names where nobody names others."""

DEFAULT_MODEL = "distilbert-base-uncased"
DEFAULT_DATASET, DEFAULT_DATASET_CONFIG = "glue", "sst2"
#: The data that are no user's own: of these, few rows are used unless somebody wants more.
EXAMPLE = f"{DEFAULT_DATASET} {DEFAULT_DATASET_CONFIG}"
