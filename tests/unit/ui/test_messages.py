"""Messages of the API in Chinese: every code has a heading, every template stands in the code, faults are whole."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from string import Formatter

import pytest

import finetune30
from finetune30 import errors
from finetune30.config.fields import describe_allowed, field_schemas
from finetune30.config.loading import validate_tree
from finetune30.errors import ConfigError, DataFileError
from finetune30.ui.catalogue import load_catalogue
from finetune30.ui.messages import load_templates, translate_message

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
    known = {_shape(text) for text in _texts_of_the_code()}
    allowed = {_shape(describe_allowed(schema)) for schema in field_schemas().values()}
    built = "What a field allows"  # composed of pieces: the test below holds them
    section = (ROOT / "ui" / "messages.yaml").read_text(encoding="utf-8").partition(built)[2].partition("# Disk")[0]
    stale = [en for en in load_templates() if _shape(en) not in known | allowed and f'"{en}"' not in section]
    assert stale == []


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


def test_values_and_places_are_kept():
    assert translate_message("zh", "there is no task 'abc'") == "找不到任務 'abc'"
    error = DataFileError("my file.csv", 3, 0, "the file is not UTF-8", "save the file as UTF-8")
    assert translate_message("zh", error.message) == "my file.csv:3：檔案不是 UTF-8 編碼"
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
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _text_of(node.left), _text_of(node.right)
        return None if left is None or right is None else left + right
    return None


def _shape(text):
    """The fixed parts of a template; quotes around a value may stand in the code or come with the value."""
    return re.sub(r"['\"]?\{[^{}]*\}['\"]?", "{}", text)
