"""The page's logic without a browser: every page runs against a real API in this process."""

from __future__ import annotations

import pytest
import yaml

from finetune30.api.application import build_app
from finetune30.config.reference import build_json_schema
from finetune30.settings import Settings
from finetune30.ui.client import ApiClient, ApiError, ApiUnreachableError
from finetune30.ui.fields import load_fields
from finetune30.ui.form import section_key
from finetune30.ui.views import first_steps
from support.api_thread import serve

pytestmark = [
    pytest.mark.integration,
    # Streamlit's test runner looks for a session where there is none.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


class Queue:
    def __init__(self):
        self.sent = []

    def publish(self, run_id):
        self.sent.append(run_id)


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    """An API on a port of its own, and its client."""
    folder = tmp_path_factory.mktemp("api")
    settings = Settings(
        results_folder=folder / "results",
        submitted_folder=folder / "config",
        data_folder=folder / "data_store",
        disk_reserve_bytes=0,
    )
    with serve(build_app(settings, publisher=Queue())) as url:
        client = ApiClient(url)
        yield client
        client.close()


@pytest.fixture
def visit(api, visit):
    """Give a function that opens the form of this API with some parameters of the address."""
    return lambda url=api.base_url, **parameters: visit(url, **{"preset": "default", **parameters})


def widget(kind, label):
    found = [entry for entry in kind if entry.label == label]
    assert found, (label, [entry.label for entry in kind])
    return found[0]


def shown_yaml(page):
    return yaml.safe_load(widget(page.text_area, "Configuration as YAML").value)


def test_form_holds_every_parameter_in_both_languages(visit):
    english, chinese = visit(lang="en"), visit(lang="zh")
    assert [title.value for title in english.title] == ["Submit a run"]
    assert [title.value for title in chinese.title] == ["提交任務"]
    assert len(english.number_input) == len(chinese.number_input)
    assert widget(chinese.number_input, "學習率").value == 5e-4
    rate = widget(english.number_input, "Learning rate")
    assert (rate.min, rate.max) == (None, None)  # the API's check speaks: Streamlit would send another value
    for section in {field.section for field in load_fields(build_json_schema()).values()}:
        english.session_state[section_key(section)] = True
    english.run()
    assert not english.exception
    assert len(english.number_input) > 25


def test_yaml_follows_the_form_and_the_form_follows_the_yaml(visit):
    page = visit(lang="en")
    widget(page.number_input, "Epochs").set_value(4).run()
    assert shown_yaml(page)["training"]["num_train_epochs"] == 4
    tree = shown_yaml(page)
    tree["training"]["learning_rate"] = 0.00123
    widget(page.text_area, "Configuration as YAML").set_value(yaml.safe_dump(tree)).run()
    widget(page.button, "Use this YAML").click().run()
    assert not page.exception
    assert widget(page.number_input, "Learning rate").value == 0.00123
    assert widget(page.number_input, "Epochs").value == 4


def test_yaml_with_faults_is_refused_with_its_line(visit):
    page = visit(lang="en")
    widget(page.text_area, "Configuration as YAML").set_value("training:\n  lerning_rate: 1\n").run()
    widget(page.button, "Use this YAML").click().run()
    assert any(error.value.startswith("Line 2:") and "lerning" in error.value for error in page.error), [
        e.value for e in page.error
    ]


def test_a_fault_stands_at_its_field_and_closes_the_button(visit):
    page = visit(lang="en")
    widget(page.text_input, "Experiment name").set_value("no/slash").run()
    assert any("slash" in error.value for error in page.error)
    assert widget(page.button, "Submit").disabled


def test_submitting_sends_what_differs_and_shows_the_task(visit, api):
    page = visit(lang="en")
    widget(page.text_input, "Experiment name").set_value("from the page").run()
    widget(page.number_input, "LoRA rank r").set_value(3).run()
    widget(page.button, "Submit").click().run()
    assert not page.exception
    assert [title.value for title in page.title] == ["Follow a run"]
    task_id = page.query_params["task"][0]
    run = api.load_experiment(task_id)
    assert (run["name"], run["status"], run["config"]["lora"]["r"]) == ("from the page", "QUEUED", 3)


def test_changing_the_model_forgets_the_modules_of_the_one_before(visit):
    page = visit(lang="en")
    widget(page.text_input, "Base model").set_value("bert-base-uncased").run()
    assert shown_yaml(page)["lora"]["target_modules"] == "auto"


def test_the_starter_by_name_brings_the_settings_that_suit_it_and_another_takes_them_back(visit):
    page = visit(lang="en")
    before = shown_yaml(page)
    widget(page.number_input, "Batch size").set_value(3).run()
    widget(page.text_input, "Base model").set_value("starter").run()
    suited = shown_yaml(page)
    assert (suited["lora"]["target_modules"], suited["training"]["num_train_epochs"]) == ("all-linear", 5)
    assert suited["training"]["per_device_train_batch_size"] == 3  # a person's own
    assert any("Settings that suit this model came along" in info.value for info in page.info)
    widget(page.text_input, "Base model").set_value("bert-base-uncased").run()
    assert shown_yaml(page)["training"]["num_train_epochs"] == before["training"]["num_train_epochs"]


def test_preset_replaces_the_form(visit):
    page = visit(lang="en")
    widget(page.selectbox, "Preset").select("quick_cpu").run()
    assert not page.exception
    assert shown_yaml(page)["model"]["name"] == "starter"


def test_entries_of_the_same_moment_do_not_get_into_a_preset(visit):
    """A page that was interrupted while it was drawn reports its widgets as changed together with the preset."""
    page = visit(lang="en")
    widget(page.number_input, "Epochs").set_value(7)
    widget(page.selectbox, "Preset").select("quick_cpu").run()
    assert not page.exception
    assert shown_yaml(page)["model"]["name"] == "starter"
    assert shown_yaml(page)["training"]["num_train_epochs"] == 1


def test_a_press_while_the_side_bar_refreshes_itself_leaves_the_page_in_its_place(api, monkeypatch):
    """The fragment's container is still open when the same thread draws the page (see Streamlit's script runner)."""
    testing = pytest.importorskip("streamlit.testing.v1")
    monkeypatch.setattr("sys.argv", ["app.py", "--api-url", api.base_url])
    page = testing.AppTest.from_string(
        "import streamlit as st\n"
        "from streamlit.delta_generator_singletons import context_dg_stack\n"
        "from finetune30.ui import app\n"
        "context_dg_stack.set((st._main, st.sidebar))\n"
        "app.main()\n",
        default_timeout=200,
    )
    page.query_params["preset"] = "default"
    page.query_params["lang"] = "en"
    page.run()
    assert not page.exception, page.exception
    assert [title.value for title in page.main.title] == ["Submit a run"]
    assert not page.sidebar.title
    page.session_state["client"].close()


def test_an_api_that_is_away_is_said_without_a_fault(visit):
    page = visit("http://127.0.0.1:9", lang="en")
    assert any("does not answer" in error.value for error in page.error)
    assert any("comes back by itself" in info.value for info in page.info)


def test_an_api_that_goes_away_while_a_run_is_followed_is_said_by_the_banner(api, visit, monkeypatch):
    task_id = api.submit({"preset": "starter", "experiment_name": "followed"}, "followed")["task_id"]
    ended = api.load_task(task_id) | {"status": "SUCCEEDED"}
    monkeypatch.setattr(ApiClient, "load_task", lambda self, _: ended)

    def away(self, _):
        raise ApiUnreachableError("Connection refused")

    monkeypatch.setattr(ApiClient, "load_experiment", away)
    page = visit(view="follow", task=task_id, lang="en")
    assert not page.exception
    assert page.session_state["api_lost"]


def test_an_installation_whose_runs_are_all_archived_is_not_new(api, monkeypatch):
    asked = {}

    def find(self, **filters):
        asked.update(filters)
        return [], None

    monkeypatch.setattr(ApiClient, "find_experiments", find)
    monkeypatch.setattr(first_steps, "client", lambda: api)
    assert first_steps._is_empty()
    assert asked["archived"] == "all"


def test_unknown_answers_of_the_api_are_refusals(api):
    with pytest.raises(ApiError, match="there is no task"):
        api.load_task("nothing")
