"""Reading YAML text: what people write is what they get, and attacks are refused."""

from __future__ import annotations

import re

import pytest

from finetune30.config.yaml_source import load_yaml_text, load_yaml_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-4", 0.0005),
        ("1.e-4", 0.0001),
        ("5.0e-4", 0.0005),
        (".5", 0.5),
        ("1E3", 1000.0),
        ("12", 12),
        ("-3", -3),
        ("010", 10),
        ("0x1F", 31),
        ("true", True),
        ("no", "no"),
        ("off", "off"),
        ("null", None),
        ("~", None),
        ("None", None),
        ("", None),
        ("'5e-4'", "5e-4"),
        ('"null"', "null"),
        ("2026-01-01", "2026-01-01"),
        ("12:30:00", "12:30:00"),
        ("[q_lin, v_lin]", ["q_lin", "v_lin"]),
        ("{a: 1}", {"a": 1}),
        ("a: b: c", "a: b: c"),
        ("[", "["),
        ("9" * 5000, float("inf")),
    ],
)
def test_value_reads_as_its_writer_means_it(text, value):
    assert load_yaml_value(text, stays_text=False) == value


@pytest.mark.parametrize("text", ["5e10123", "007", "true", "1.0"])
def test_scalar_stays_text_where_the_key_holds_text(text):
    assert load_yaml_value(text, stays_text=True) == text


def test_lines_are_those_of_the_file():
    document = load_yaml_text("# head\nmodel:\n  name: x\n\nlora: {r: 4}\n")
    assert document.tree == {"model": {"name": "x"}, "lora": {"r": 4}}
    assert document.lines == {("model",): 2, ("model", "name"): 3, ("lora",): 5, ("lora", "r"): 5}


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "given twice, first on line 1"),
        ("model:\n\tname: x\n", 2, "a tab cannot indent YAML"),
        ("a: &x [1]\nb: *x\n", 2, "aliases are not supported"),
        ("a: 1\n---\nb: 2\n", 2, "a second document"),
        ("a: !!python/object/apply:os.system ['true']\n", 1, "tag .* is not supported"),
        ("a: !!str 5\n", 1, "tag .* is not supported"),
        ("a: [1, 2\nb: 3\n", 2, "not readable as YAML"),
        ("ok: 1\nbad: '\x07'\n", 2, "not readable as YAML"),
        ("? [1, 2]\n: x\n", 1, "a key must be a word"),
        ("[" * 100_000, 1, "nested deeper than 20 levels"),
    ],
)
def test_fault_names_line_and_problem(text, line, problem):
    faults = load_yaml_text(text).faults
    assert [fault.line for fault in faults] == [line]
    assert re.search(problem, faults[0].problem)


def test_billion_laughs_is_refused_without_expanding():
    text = "a: &a [x, x]\n" + "".join(f"{name}: &{name} [*a, *a]\n" for name in "bcdefgh")
    assert "aliases are not supported" in load_yaml_text(text).faults[0].problem
