"""Messages of the API in Chinese: every code has a heading, every template stands in the code, faults are whole."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from string import Formatter

import polars as pl
import pytest

import finetune30
from finetune30 import errors
from finetune30.config import DataConfig
from finetune30.config.fields import describe_allowed, field_schemas
from finetune30.config.loading import validate_tree
from finetune30.data.encoding import TokenCounts
from finetune30.data.loading import load_rows
from finetune30.data.validation.quarantine import apply_gate
from finetune30.data.validation.validate import validate_rows
from finetune30.errors import ConfigError, DataError, DataFileError
from finetune30.problems import choose_problem
from finetune30.ui.messages import load_templates, translate_message
from finetune30.ui.translations import load_catalogue
from support.messages import find_messages, fixed_text

ROOT = Path(finetune30.__file__).parent
#: Codes that the framework's errors and downloads answer with, beside those of errors.py.
FRAMEWORK = re.compile(r'(?:"error": |: \()"([a-z_]+)"')


def test_every_error_code_that_the_api_can_answer_has_a_chinese_heading():
    codes = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "code")}
    for name in ("answers.py", "downloads.py"):
        codes |= set(FRAMEWORK.findall((ROOT / "api" / name).read_text(encoding="utf-8")))
    assert {"request_invalid", "range_invalid", "method_not_allowed", "not_found"} <= codes
    assert [code for code in sorted(codes) if not load_catalogue().get(f"api_error.{code}", {}).get("zh")] == []


def test_templates_hold_the_same_values_in_both_languages():
    def names(text):
        return {name for _, name, _, _ in Formatter().parse(text) if name}

    assert [en for en, zh in load_templates().items() if names(en) != names(zh) or not zh.strip()] == []


def test_every_english_template_stands_in_the_code():
    known = {_shape(text) for text in [*_texts_of_the_code(), *find_messages()]}
    allowed = {_shape(describe_allowed(schema)) for schema in field_schemas().values()}
    built = "What a field allows"  # composed of pieces: the test below holds them
    section = (ROOT / "ui" / "messages.yaml").read_text(encoding="utf-8").partition(built)[2].partition("# Disk")[0]
    templates = {en: en.replace("{{", "{").replace("}}", "}") for en in load_templates()}
    unknown = [en for en, bare in templates.items() if _shape(bare) not in known | allowed and f'"{en}"' not in section]
    assert [en for en in unknown if not any(_shape(en) in text for text in known)] == []  # a piece of a longer one


def test_what_every_field_allows_is_said_in_chinese():
    unsaid = [
        key for key, schema in field_schemas().items() if translate_message("zh", describe_allowed(schema)) is None
    ]
    assert unsaid == []


def test_faults_of_a_configuration_are_whole_sentences_in_chinese():
    tree = {"training": {"learning_rate": 7, "device": 5}, "lora": {"r": 0, "lora_dropout": "much"}, "modell": {}}
    with pytest.raises(ConfigError) as caught:
        validate_tree(tree)
    said = [translate_message("zh", fault["problem"]) for fault in caught.value.details["faults"]]
    assert len(said) == 5
    assert None not in said
    hints = [fault["hint"] for fault in caught.value.details["faults"] if fault["hint"]]
    assert [translate_message("zh", hint) for hint in hints] == ["是否為 model？"]


def test_what_to_do_about_rows_and_why_a_training_would_not_start_is_said_in_chinese(tmp_path):
    rows = [f"{number} of the ordinary sentences about a film that {number} people saw" for number in range(60)]
    planted = [
        "hm",
        "",
        "<b>bold</b> words here",
        "昨天晚上的燈籠比月亮還要亮，大家都很驚訝",
        "a bell\x07 rings here",
        rows[0],
    ]
    labels = ["bad", *["good", "bad"] * 30, *["good"] * 6]
    lines = [f'"{text}",{label}' for text, label in zip([*rows, rows[1], *planted], labels, strict=False)]
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    config = DataConfig(dataset_name=str(path), max_length=12)
    loaded = load_rows(config, lambda _: None, problem=choose_problem("auto"))
    found = validate_rows(
        loaded, config, count_tokens=lambda texts, _: TokenCounts([len(text.split()) + 1 for text in texts])
    )
    fixes = dict(found.findings.select("rule", "fix").iter_rows())
    assert len(fixes) > 6
    assert [fix for fix in fixes.values() if translate_message("zh", fix) is None] == []
    with pytest.raises(DataError) as caught:
        apply_gate(found, loaded.rows, config.gate)
    assert translate_message("zh", caught.value.message) is not None
    assert translate_message("zh", str(caught.value.remedy)) is not None


def test_what_rows_were_taken_for_is_said_in_chinese():
    forms = (
        ["a", "b"], ["0", "1"], ["0.5", "1"], [str(n) for n in range(200)], ['["a", "b"]', '["a"]'],
        ['["a", "b"]', "a"],
        ['["a"]', '["b"]'], ["[1, 0]", "[0, 1]"], ["['a', 'b']", "['a']"], ["1.0", "2.0"], ["true", "True", "false"],
        ["01", "1", "x"], ["caf\u00e9", "cafe\u0301"], ["a", "b", "c", '["d"]'],
    )  # fmt: skip
    entries = [
        entry
        for cells in forms
        for outputs in (None, 1)
        for entry in choose_problem("auto").settle(pl.Series(cells, dtype=pl.String), None, outputs).detected
    ]
    said = {text for entry in entries for text in (entry.found, entry.because)}
    assert len(said) > 20
    assert [text for text in said if translate_message("zh", text) is None] == []


def test_values_and_places_are_kept():
    assert translate_message("zh", "there is no task 'abc'") == "找不到任務 'abc'"
    error = DataFileError("my file.csv", 3, 0, "there is no row in the file", "")
    assert translate_message("zh", error.message) == "my file.csv:3：檔案中沒有資料"
    assert translate_message("en", "there is no task 'abc'") == "there is no task 'abc'"
    assert translate_message("zh", "something new happened") is None


def _texts_of_the_code():
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (text := _text_of(node)) is not None:
                yield text


def _text_of(node):
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return fixed_text(node)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _text_of(node.left), _text_of(node.right)
        return None if left is None or right is None else left + right
    return None


def _shape(text):
    """The fixed parts of a template; quotes around a value may stand in the code or come with the value."""
    return re.sub(r"['\"]?\{[^{}]*\}['\"]?", "{}", text)
