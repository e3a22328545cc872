"""What must hold for any configuration and any nonsense: exact round trips, complete reports, never a crash."""

from __future__ import annotations

import string
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from finetune30.config.fields import field_schemas, section_keys
from finetune30.config.loading import dump_config, flatten_tree, load_config, load_override, validate_tree
from finetune30.config.yaml_source import load_yaml_text
from finetune30.errors import ConfigError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
FAST = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
KEYS = list(field_schemas())
#: Texts that some YAML reader takes for something else, or that break a careless writer.
TRICKY_WORDS = [
    "null",
    "~",
    "None",
    "no",
    "true",
    "5e-4",
    "007",
    "1:30",
    "0x1F",
    "- a",
    "a: b",
    "#x",
    " x ",
    "'",
    '"',
    "a\nb",
]


def of_schema(schema: dict) -> st.SearchStrategy:
    """Draw values that a field's own schema allows."""
    if "anyOf" in schema:
        return st.one_of([of_schema(option) for option in schema["anyOf"]])
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    low, high = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum", 1e9)
    match schema["type"]:
        case "integer":
            return st.integers(low, int(high))
        case "number":
            return st.floats(
                low,
                schema.get("exclusiveMaximum", high),
                exclude_min="exclusiveMinimum" in schema,
                exclude_max="exclusiveMaximum" in schema,
            )
        case "boolean":
            return st.booleans()
        case "array":
            return st.lists(of_schema(schema["items"]), min_size=schema.get("minItems", 0), max_size=4)
        case "null":
            return st.none()
    if schema.get("format") == "date":
        return st.dates().map(date.isoformat)
    if "pattern" in schema:
        longest = schema.get("maxLength", 1000)
        return st.from_regex(schema["pattern"], fullmatch=True).filter(
            lambda text: "\n" not in text and len(text) <= longest
        )
    low, high = schema.get("minLength", 0), min(schema.get("maxLength", 20), 20)
    tricky = st.sampled_from([word for word in TRICKY_WORDS if low <= len(word) <= high])
    return tricky | st.text(st.characters(exclude_categories=["Cs"]), min_size=low, max_size=high)


OVERRIDES = st.lists(st.sampled_from(KEYS), unique=True, max_size=6).flatmap(
    lambda keys: st.fixed_dictionaries({key: of_schema(field_schemas()[key]) for key in keys})
)
NONSENSE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=8), below, max_size=3),
    max_leaves=6,
)


@FAST
@given(overrides=OVERRIDES)
def test_dumped_configuration_loads_as_itself(overrides, tmp_path):
    try:
        config = load_config(None, overrides).config
    except ConfigError as error:  # only rules that hold between several keys may refuse values allowed one by one
        assert all(fault["key"] in {*section_keys(), "experiment_name"} for fault in error.details["faults"])  # noqa: PT017
        assume(False)
    path = Path(tmp_path, "c.yaml")
    path.write_text(dump_config(config), encoding="utf-8", newline="")
    assert load_config(path).config == config
    assert load_config(None, flatten_tree(config.as_tree())).config == config
    assert validate_tree(config.as_tree()) == config


@FAST
@given(
    name=st.text(string.ascii_lowercase + "_", min_size=1, max_size=15), section=st.sampled_from(sorted(section_keys()))
)
def test_unknown_key_is_always_reported(name, section):
    key = f"{section}.{name}"
    assume(key not in KEYS and key not in section_keys())
    with pytest.raises(ConfigError) as error:
        load_config(None, {key: 1, "training.seed": -1})
    assert {fault["key"] for fault in error.value.details["faults"]} == {key, "training.seed"}


@FAST
@given(key=st.sampled_from([*KEYS, *sorted(section_keys())]), value=NONSENSE)
def test_any_value_is_taken_or_reported(key, value):
    try:
        load_config(None, {key: value})
    except ConfigError as error:
        assert error.details["faults"]  # noqa: PT017
        str(error.as_dict()).encode()  # what is printed must be printable


@FAST
@given(key=st.sampled_from(KEYS), text=st.text(max_size=30))
def test_any_text_on_the_command_line_is_taken_or_reported(key, text):
    try:
        load_config(None, {key: load_override(key, text)})
    except ConfigError as error:
        assert key in error.message  # noqa: PT017


@FAST
@given(content=st.binary(max_size=60) | TEXT.map(str.encode))
def test_any_bytes_as_a_file_are_taken_or_reported(content, tmp_path):
    path = Path(tmp_path, "c.yaml")
    path.write_bytes(content)
    try:
        load_config(path)
    except ConfigError as error:
        assert str(path) in error.message  # noqa: PT017


@FAST
@given(text=st.text("[]{}:,-&*!|>'\"%@`#? \n\tab1", max_size=40))
def test_any_yaml_like_text_reads_or_has_a_fault_with_a_line(text):
    document = load_yaml_text(text)
    assert all(fault.line >= 1 and fault.problem for fault in document.faults)
