"""Loading configurations: precedence, complete fault reports, round trips."""

from __future__ import annotations

import pytest

from finetune30.config.fields import field_schemas
from finetune30.config.loading import (
    config_digest,
    dump_config,
    flatten_tree,
    load_config,
    load_override,
    validate_tree,
)
from finetune30.config.schema import ExperimentConfig
from finetune30.errors import ConfigError


@pytest.fixture
def write(tmp_path):
    def write_file(text: str):
        path = tmp_path / "c.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


def faults_of(error: pytest.ExceptionInfo) -> list[str]:
    return [f"{fault['line']}:{fault['key']}" for fault in error.value.details["faults"]]


def test_defaults_without_a_file():
    loaded = load_config(None)
    assert loaded.config == ExperimentConfig()
    assert loaded.explicit == frozenset()


def test_command_line_wins_over_file_and_file_over_defaults(write):
    path = write("training: {learning_rate: 1e-3, num_train_epochs: 4}\n")
    loaded = load_config(path, {"training.num_train_epochs": 7})
    assert loaded.config.training.learning_rate == 0.001
    assert loaded.config.training.num_train_epochs == 7
    assert loaded.config.training.logging_steps == 10
    assert loaded.explicit == {"training.num_train_epochs"}


def test_every_fault_is_in_one_report_in_the_order_of_the_lines(write):
    path = write(
        "modle:\n  name: x\nlora:\n  r: 0\n  rank: 4\ntraining:\n  learning_rate: 5\n  num_train_epochs: true\n"
        "  learning_rate: 1\n"
    )
    with pytest.raises(ConfigError) as error:
        load_config(path, {"training.seed": -1, "data.batch_size": 3})
    found = faults_of(error)
    assert found[:6] == [
        "1:modle",
        "4:lora.r",
        "5:lora.rank",
        "7:training.learning_rate",
        "8:training.num_train_epochs",
        "9:training.learning_rate",
    ]
    assert sorted(found[6:]) == ["None:data.batch_size", "None:training.seed"]
    message = error.value.message
    assert f"{path}:4: lora.r: 0 is not allowed, must be a whole number from 1 up to 1024" in message
    assert "modle: unknown key; did you mean model?" in message
    assert "lora.rank: unknown key; did you mean lora.r?" in message
    assert "command line: training.seed: -1 is not allowed" in message
    assert "data.batch_size: unknown key; did you mean training.per_device_train_batch_size?" in message


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("lr: 1", "did you mean training.learning_rate?"),
        ("learning_rate: 1", "did you mean training.learning_rate?"),
        ("training: {epochs: 1}", "did you mean training.num_train_epochs?"),
        ("training: {learning_rat: 1}", "did you mean training.learning_rate?"),
        ("training: {fp16: true}", "for true write training.precision: fp16, for false leave it out"),
        ("training: {lora_alpha: 1}", "did you mean lora.lora_alpha?"),
        ("data: {validation_rule: {}}", "did you mean data.validation_rules?"),
        ("training.learning_rate: 1", "write learning_rate: below training:"),
    ],
)
def test_unknown_key_gets_the_nearest_known_one(write, text, hint):
    with pytest.raises(ConfigError) as error:
        load_config(write(text))
    assert error.value.details["faults"][0]["hint"] == hint


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("training: 3", "must be a section with keys, not 3"),
        ("- a\n- b", "must hold sections"),
        ("training: {eval_strategy: steps}", "needs eval_steps"),
        ("training: {device: gpu}", "must be auto, cpu, mps, cuda"),
        ("training: {learning_rate: .nan}", "must be a number above 0 up to 1"),
        ("training: {precision: fp8}", "must be one of auto, fp32, bf16, fp16"),
        ("lora: {target_modules: []}", "must be a list of names, or one of auto, all-linear"),
        ("lora: {target_modules: q_lin}", "must be a list of names, or one of auto, all-linear"),
        ("experiment_name: ../up", "must be 1 to 80 letters"),
        (f"experiment_name: {'測' * 70}", "takes 210 bytes"),
        ("data: {validation_rules: {min_text_length: 9, max_text_length: 3}}", "min_text_length 9 is above"),
        ("lora: {init_lora_weights: orthogonal, r: 3}", "needs an even r, not 3"),
    ],
)
def test_fault_says_what_is_allowed(write, text, problem):
    with pytest.raises(ConfigError) as error:
        load_config(write(text))
    assert problem in error.value.message
    assert len(error.value.details["faults"]) == 1


def test_section_with_all_keys_commented_out_is_empty(write):
    assert load_config(write("training:\n  # seed: 1\n")).config == ExperimentConfig()


def test_text_key_keeps_a_number_as_written(write):
    config = load_config(write("experiment_name: 2026\nmodel: {revision: 5e10123}\ndata: {label_column: 0}\n")).config
    assert (config.experiment_name, config.model.revision, config.data.label_column) == ("2026", "5e10123", "0")


@pytest.mark.parametrize(("content", "problem"), [(b"\xff\xfea", "not UTF-8"), (b"a" * 1_000_001, "1000001 bytes")])
def test_file_that_is_no_configuration_is_refused(tmp_path, content, problem):
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=problem):
        load_config(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml.*No such file"):
        load_config(tmp_path / "none.yaml")


def test_byte_order_mark_and_crlf_are_read(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_bytes("\ufefftraining:\r\n  seed: 7\r\n".encode())
    assert load_config(path).config.training.seed == 7


def test_another_model_and_data_set_drop_what_belonged_to_the_old(write):
    path = write(
        "model: {name: distilbert-base-uncased, offline_fallback: starter}\nlora: {target_modules: [q_lin, v_lin]}\n"
        "data: {dataset_name: glue, dataset_config: sst2, offline_fallback: starter, train_samples: 9}\n"
    )
    loaded = load_config(path, {"model.name": "roberta-base", "data.dataset_name": "mine.csv"})
    assert loaded.config.lora.target_modules == "auto"
    assert loaded.config.model.offline_fallback is None
    assert loaded.config.data.dataset_config is None
    assert loaded.config.data.offline_fallback is None
    assert loaded.config.data.train_samples == 9
    assert len(loaded.notes) == 2
    same = load_config(path, {"model.name": "distilbert-base-uncased"})
    assert same.config.model.offline_fallback == "starter"
    assert same.notes == ()


def test_chosen_modules_and_columns_survive_another_model_and_data_set(write):
    path = write("lora: {target_modules: [query]}\ndata: {text_column: body, eval_split: dev}\n")
    config = load_config(path, {"model.name": "roberta-base", "data.dataset_name": "mine.csv"}).config
    assert config.lora.target_modules == ["query"]
    assert (config.data.text_column, config.data.eval_split) == ("body", "dev")


def test_companions_given_together_are_kept(write):
    path = write("data: {dataset_name: glue, dataset_config: sst2}\n")
    loaded = load_config(path, {"data.dataset_name": "glue2", "data.dataset_config": "cola"})
    assert loaded.config.data.dataset_config == "cola"


def test_dump_reads_back_the_same_and_keeps_its_header(tmp_path):
    config = ExperimentConfig.model_validate(
        {"experiment_name": "1e5", "model": {"revision": "null"}, "data": {"label_separator": "no"}}
    )
    path = tmp_path / "c.yaml"
    path.write_text(dump_config(config, "first\nsecond"), encoding="utf-8")
    assert path.read_text(encoding="utf-8").startswith("# first\n# second\nexperiment_name: '1e5'\nmodel:\n")
    assert load_config(path).config == config


def test_dump_of_tricky_words_reads_back_with_any_yaml_reader():
    yaml = pytest.importorskip("yaml")
    config = ExperimentConfig.model_validate({"data": {"text_column": "yes", "label_column": "5e-4"}})
    assert yaml.safe_load(dump_config(config)) == config.as_tree()


def test_digest_ignores_name_and_folder_only():
    base = ExperimentConfig()
    renamed = validate_tree({"experiment_name": "other", "training": {"output_dir": "elsewhere"}})
    assert config_digest(renamed) == config_digest(base)
    assert config_digest(validate_tree({"training": {"seed": 43}})) != config_digest(base)


def test_tree_of_a_request_reports_like_a_file():
    with pytest.raises(ConfigError, match=r"request: training\.seed: 'x' is not allowed"):
        validate_tree({"training": {"seed": "x"}})
    with pytest.raises(ConfigError, match="must be an object"):
        validate_tree([1])


def test_flattened_tree_is_ready_as_overrides():
    tree = {"experiment_name": "a", "training": {"seed": 3}, "data": {"validation_rules": {"allow_empty": True}}}
    flat = flatten_tree(tree)
    assert flat == {"experiment_name": "a", "training.seed": 3, "data.validation_rules.allow_empty": True}
    assert load_config(None, flat).config == validate_tree(tree)


def test_override_text_reads_by_the_type_of_its_key():
    assert load_override("experiment_name", "1e5") == "1e5"
    assert load_override("training.learning_rate", "1e-5") == 1e-5
    assert load_override("training.device", "null") is None
    assert load_override("lora.target_modules", "[a, b]") == ["a", "b"]
    for separator in ("|", "#", " ", ">", "&", "*", "!", "%", "@", "-", "?", ":", "|+"):  # all mean something in YAML
        assert load_override("data.label_separator", separator) == separator
    assert load_override("data.label_separator", '"#"') == "#"
    assert load_override("experiment_name", "run #3") == "run #3"


def test_every_field_has_a_description_and_allowed_text():
    from finetune30.config.fields import describe_allowed

    assert [key for key, schema in field_schemas().items() if not schema.get("description")] == []
    assert [key for key, schema in field_schemas().items() if not describe_allowed(schema)] == []
