import re
from pathlib import Path
from string import Formatter

import pytest

import finetune30.ui
from finetune30.config.presets import list_presets
from finetune30.config.reference import build_json_schema
from finetune30.ui.fields import load_fields
from finetune30.ui.translations import LANGUAGES, load_catalogue, match_language, translate

SOURCES = sorted(Path(finetune30.ui.__file__).parent.rglob("*.py"))
LITERAL = re.compile(r'\bt\(\s*"([^"]+)"')
PREFIX = re.compile(r"""\bt(?:_or)?\(\s*f["']([a-z_.]+)\{""")


def test_every_text_is_there_in_every_language():
    missing = [
        (key, language)
        for key, texts in load_catalogue().items()
        for language in LANGUAGES
        if not key.startswith(("help.", "preset.")) and not texts.get(language, "").strip()
    ]
    assert missing == []


def test_both_languages_fill_in_the_same_values():
    def names(text):
        return {name for _, name, _, _ in Formatter().parse(text) if name}

    unlike = [key for key, texts in load_catalogue().items() if len({frozenset(names(t)) for t in texts.values()}) > 1]
    assert unlike == []


def test_every_field_of_the_configuration_has_a_name_and_a_translated_help():
    catalogue = load_catalogue()
    keys = load_fields(build_json_schema())
    assert [key for key in keys if f"field.{key}" not in catalogue] == []
    assert [key for key in keys if not catalogue.get(f"help.{key}", {}).get("zh")] == []
    known = {f"{kind}.{key}" for key in keys for kind in ("field", "help")}
    assert [key for key in catalogue if key.startswith(("field.", "help.")) and key not in known] == []


def test_every_preset_is_described_in_chinese():
    catalogue = load_catalogue()
    assert [p.name for p in list_presets() if not catalogue.get(f"preset.{p.name}", {}).get("zh")] == []


def test_every_text_that_the_page_asks_for_exists_and_none_is_left_over():
    text = "\n".join(source.read_text(encoding="utf-8") for source in SOURCES)
    asked = set(LITERAL.findall(text)) | set(re.findall(r"""["']([a-z_]+\.[a-z0-9_-]+)["']""", text))
    prefixes = (*PREFIX.findall(text), "field.", "help.", "section.")
    catalogue = load_catalogue()
    assert [key for key in LITERAL.findall(text) if key not in catalogue] == []
    assert [key for key in catalogue if key not in asked and not key.startswith(prefixes)] == []


@pytest.mark.parametrize(
    ("locale", "language"), [("zh-TW", "zh"), ("zh-Hant-HK", "zh"), ("en-GB", "en"), ("fr", "en"), (None, "en")]
)
def test_language_follows_the_browser(locale, language):
    assert match_language(locale) == language


def test_values_are_filled_in():
    assert translate("en", "experiments.page", page=3) == "Page 3"
