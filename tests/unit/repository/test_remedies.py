"""Every remedy that names a setting or a command is in this table, with the test that does what it says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import click

from finetune30.cli.main import app
from finetune30.config.fields import field_schemas
from finetune30.settings import PREFIX, Settings
from support.remedies import find_remedies

TESTS = Path(__file__).parents[2]
_DATA = "unit/data/test_remedies.py::"
_FILES = "unit/data/sources/test_remedies_of_files.py::"
_PLUGINS = "unit/problems/test_plugins.py::"
_CELLS = "unit/problems/test_label_cells.py::"
_COMMANDS = "integration/test_data_commands.py::"
_BUILDING = "unit/training/test_building.py::"
_FAMILIES = "unit/training/test_every_family.py::"
_RESUME = "integration/exactness/test_resume_refusals.py::"
_PAIRS = "unit/data/test_pairs.py::"
_LISTS = "test_brackets_that_are_no_lists_are_refused_and_the_remedy_is_right"

#: Remedy (values as `{}`) -> the test that follows it to the letter.
FOLLOWED = {
    "set data.encoding to {} if that is right, or save the file as UTF-8": _FILES
    + "test_the_one_encoding_that_is_named_reads_the_file",
    "set data.encoding to the one that reads right, or save the file as UTF-8": _FILES
    + "test_the_encoding_that_reads_right_is_among_those_that_are_shown",
    "set data.encoding to the encoding that the file was written in, or save the file as UTF-8": _FILES
    + "test_an_encoding_that_nobody_guesses_is_named_by_who_knows_it",
    "leave data.encoding out": _FILES + "test_an_encoding_beside_data_that_are_no_file_is_left_out",
    "leave data.sheet out": _FILES + "test_a_sheet_beside_a_file_without_sheets_is_left_out",
    "set data.sheet to one of them": _FILES + "test_the_sheet_or_file_that_is_listed_is_read",
    "set data.sheet to the one to read": _FILES + "test_the_sheet_or_file_that_is_listed_is_read",
    "set data.sheet to the one to read, or unpack the archive and name its folder": _FILES
    + "test_an_archive_of_several_files_is_unpacked_and_its_folder_named",
    "{}; or train all the same with data.allow_unknown_tokens: true": "unit/service/test_doubts.py::"
    "test_chinese_in_the_english_starter_stops_with_bases_that_read_it_unless_allowed",
    "mend or update that package, or choose another model.problem_type": _PLUGINS
    + "test_a_package_that_was_mended_works",
    "set data.{} to {}": _DATA + "test_the_nearest_column_is_the_one_that_was_meant",
    "set data.{} to one of them": _DATA + "test_a_column_that_plays_another_role_is_never_proposed",
    "set data.{} to one of them; if this is a row of data, add a header line above it": _DATA
    + "test_columns_that_nothing_tells_are_named_one_after_the_other",
    "set data.text_column to one of them, and data.text_pair_column to another where texts are pairs; if this is a row "
    "of data, add a header line above it": _PAIRS + "test_columns_that_nothing_tells_are_named_both",
    "set data.text_pair_column to one of them, or data.text_column to {} to read it alone": _PAIRS
    + "test_several_second_texts_are_asked_about_and_each_way_out_works",
    "fill those rows in or remove them, or raise data.gate.max_faulty_share": "unit/service/test_tokenless_rows.py::"
    "test_too_many_stop_the_run_and_the_limit_that_is_named_lets_it_go_on",
    "give --text_pair once for each text": "unit/data/test_questions.py::"
    "test_second_texts_are_given_once_for_each_text",
    "add a header line above it, such as text,{}; or set data.{} to {}": _DATA
    + "test_a_header_above_a_row_of_data_brings_the_row_back",
    "if the columns of 0 and 1 are the classes, set data.label_columns to {}; else {}": _DATA
    + "test_columns_of_0_and_1_are_taken_as_the_error_names_them",
    "put one of them in the place of {} in data.label_columns": _DATA
    + "test_a_class_without_column_is_replaced_by_one_that_has",
    "leave data.label_columns out, or set model.problem_type to multi_label_classification": _DATA
    + "test_label_columns_of_a_problem_without_labels_are_left_out_or_its_problem_changed",
    "look at the rows with: ft30 data validate, or loosen data.validation_rules": _DATA
    + "test_too_few_rows_are_more_after_the_rules_are_loosened",
    "run through the ft30 command": _DATA + "test_a_version_is_found_where_a_data_folder_is_known",
    "{} findings stop the run (data.gate.mode is strict); list them with: ft30 data validate": _COMMANDS
    + "test_a_strict_gate_names_the_command_that_lists_every_fault",
    "mend the rows (ft30 data validate lists them all), or change {}": _DATA
    + "test_the_limit_that_stops_a_run_is_the_one_to_change",
    "set model.num_labels to {}": _DATA + "test_the_number_of_labels_is_the_one_named",
    "set model.num_labels to 1": _DATA + "test_regression_has_the_one_output_that_is_named",
    "correct it, or set model.problem_type to the task you mean": _DATA
    + "test_names_where_numbers_were_asked_for_become_classes_step_by_step",
    "run the recipe with: ft30 data clean": _COMMANDS + "test_commands_that_errors_about_data_name_do_what_is_said",
    "look at its steps with: ft30 data clean": _COMMANDS + "test_commands_that_errors_about_data_name_do_what_is_said",
    "list them with: ft30 data versions list": _COMMANDS + "test_commands_that_errors_about_data_name_do_what_is_said",
    "choose another folder, or give --overwrite": _COMMANDS
    + "test_commands_that_errors_about_data_name_do_what_is_said",
    "move it with: ft30 data versions tag {} {} --move (in a request: move=true)": _COMMANDS
    + "test_tag_of_another_version_is_never_moved_in_passing",
    "run it as: ft30 data versions gc": _COMMANDS + "test_version_from_clean_rows_to_diff_checkout_and_gc",
    "shorter than data.validation_rules.min_text_length ({})": _DATA + "test_rules_are_loosened_as_their_findings_say",
    "fill in the text, or set data.validation_rules.allow_empty to true": _DATA
    + "test_rules_are_loosened_as_their_findings_say",
    'write JSON lists such as ["joy", "calm"]; where the brackets belong to the names, set '
    "model.problem_type to single_label_classification": _CELLS + _LISTS,
    "set training.precision to fp32 or auto": _FAMILIES
    + "test_a_precision_asked_for_that_the_family_cannot_compute_in_is_refused",
    "set data.max_length to at most {}": _BUILDING
    + "test_roberta_is_refused_texts_beyond_the_positions_that_it_can_use",
    "start a new run from its weights with: ft30 resume {} --warm-start": _RESUME
    + "test_succeeded_run_is_not_resumed_but_starts_another_warm",
    "add --yes": "unit/cli/test_runs.py::test_delete_asks_and_refuses_running_runs",
}

#: Remedies whose following no test holds yet. None may be added.
NOT_YET_FOLLOWED = frozenset(
    {
        "ask an admin for a key: ft30 keys create NAME --role {}",
        "call it as localhost, or name the host in FT30_ALLOWED_HOSTS",
        "make a key with: ft30 keys create",
        "name the origin in FT30_ALLOWED_ORIGINS if they should",
        "raise FT30_MAX_UPLOAD_BYTES",
        "make one with: ft30 keys create NAME --role admin, or set FT30_API_KEYS",
        "stop what uses the port, or choose another: FT30_API_PORT=8001",
        "ft30 data versions tag NAME VERSION",
        "see what is allowed with: ft30 runs list --help",
        "stop what listens there, or choose another: ft30 ui --port 8502",
        "give a YAML file with --config, or list the shipped ones: ft30 config presets",
        "{}list them: ft30 config presets",
        "set data.dataset_config to one of the names above",
        "lower per_device_train_batch_size or data.max_length, or give the machine more memory",
        "see ft30 runs logs {} and the output below; try again with: ft30 retry {}",
        "find it with: lsof -i :{}, or choose another port in FT30_REDIS_URL and FT30_RESULT_BACKEND_URL",
        "name its authority in FT30_REDIS_URL and FT30_RESULT_BACKEND_URL: …/0?ssl_ca_certs=FILE",
        "put user and password into FT30_REDIS_URL and FT30_RESULT_BACKEND_URL: redis://user:password@host:6379/0",
        "start it there, or set FT30_REDIS_URL to redis://localhost:6379/0",
        "look at its log; FT30_NO_PROGRESS_SECONDS sets the limit (0: none)",
        "leave model.revision out, or rename the folder to mean the hub's model",
        "name the model that it was made for in model.name",
        "only safetensors is read; convert it with model.save_pretrained(folder)",
        "set training.device to null to detect it, or name one of those",
        "set training.precision to {} or auto",
        "give the model one for every token: model.resize_token_embeddings(len(tokenizer)), then "
        "save both with save_pretrained; or use the tokenizer that the model was trained with",
        "train on it without a look before (its worker fetches it), or raise FT30_MAX_FETCH_BYTES",
        "go on with: ft30 resume {}",
        "see it with: ft30 runs show {}",
        "see ft30 runs show {}",
        "go on unchanged: ft30 resume {}; or begin a new run from its weights: add --warm-start",
        "stop it first: ft30 runs cancel {}",
        "ask again; if it stays so: ft30 predict RUN TEXT shows why",
        "give texts, --file FILE, or lines on standard input",
        "start one with: ft30 train, or name --output_dir",
        "see: ft30 runs verify RUN",
        "delete runs that are not needed, or lower FT30_DISK_RESERVE_BYTES",
        "wait until some have ended, cancel some, or raise FT30_MAX_OPEN_RUNS",
        "look at it with: ft30 data validate FILE; the log of the API says more",
        "use a file of: ft30 data suspects --export",
        "choose another name: ft30 keys list",
        "see them with: ft30 keys list",
        "see who does: ft30 runs show {}",
        "check that PostgreSQL runs there and that FT30_DATABASE_URL is right",
        "choose another folder with --output_dir, or check its permissions",
        "keep the database on a local disk, or use PostgreSQL through FT30_DATABASE_URL",
        "update finetune30, or point FT30_DATABASE_URL at another database",
        "see all runs with: ft30 runs list",
        "restore what changed, or start anew from its weights with --warm-start",
        "lower data.max_length or per_device_eval_batch_size, or free the device",
        "lower training.learning_rate or use precision fp32; {}",
        "lower data.max_length or per_device_train_batch_size (raise gradient_accumulation_steps "
        "alike), or free the device; then start a new run",
        "lower training.learning_rate, use precision fp32, or look at those rows; {}",
        "set training.engine to auto",
    }
)


def test_every_remedy_that_names_a_setting_or_a_command_is_known():
    found = find_remedies()
    assert {text: place for text, place in found.items() if text not in FOLLOWED.keys() | NOT_YET_FOLLOWED} == {}
    assert (FOLLOWED.keys() | NOT_YET_FOLLOWED) - found.keys() == set()
    assert FOLLOWED.keys() & NOT_YET_FOLLOWED == set()


def test_every_command_that_a_remedy_names_is_one():
    for text in find_remedies():
        for words in re.findall(r"\bft30(?! command)((?: [a-z]+)+)", text):
            command, path = cast("click.Command", app), words.split()
            while path and isinstance(command, click.Group):
                name = path.pop(0)
                found = command.get_command(click.Context(command), name)
                assert found is not None, text
                command = found


def test_every_key_flag_and_setting_that_a_remedy_names_is_one():
    keys = set(field_schemas())
    sections = {key.rpartition(".")[0] for key in field_schemas()}
    flags = {flag for command in _commands(app) for option in command.params for flag in option.opts}
    settings = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    for text in find_remedies():
        named = re.findall(r"\b((?:model|lora|data|training)\.[a-z_.]*[a-z])\b(?!\()", text)
        assert {key for key in named if key not in keys | sections} == set(), text
        assert {flag for flag in re.findall(r"--[a-z][a-z_-]+", text) if flag not in flags | {"--help"}} == set(), text
        assert set(re.findall(r"\bFT30_[A-Z_]+", text)) <= settings, text


def _commands(command: click.Command) -> Iterator[click.Command]:
    yield command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None:
                yield from _commands(found)


def test_the_tests_that_follow_remedies_exist():
    for place in set(FOLLOWED.values()):
        path, _, name = place.partition("::")
        tree = ast.parse((TESTS / path).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, place


def test_remedies_about_data_are_all_followed():
    found = find_remedies()
    rooms = ("data/", "problems/")
    # The hub's answers need a hub: see tests/integration/hub.
    open_ends = {text for text in NOT_YET_FOLLOWED if found[text].startswith(rooms)}
    assert {found[text] for text in open_ends} <= {"data/sources/hub.py"}
