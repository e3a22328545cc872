"""Nothing runs that was not chosen: the page without a browser, over a real API."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import yaml

from finetune30.config.reference import build_json_schema
from finetune30.store import RunFilter
from finetune30.ui.fields import Field, load_fields
from finetune30.ui.form import section_key
from finetune30.ui.translations import translate
from support.services import Services

pytestmark = [
    pytest.mark.integration,
    # Streamlit's test runner looks for a session where there is none.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

Page = Any
NUMBERS = {
    key: field
    for key, field in load_fields(build_json_schema()).items()
    if field.kinds & {"integer", "number"} and not field.choices and "array" not in field.kinds
}
GOOD = b"text,label\n" + b"".join(
    f"the film number {number} was {('fine', 'dull')[number % 2]},{('good', 'bad')[number % 2]}\n".encode()
    for number in range(40)
)
UNTOLD = "編號,評論,評價\n".encode() + b"".join(
    f"{number},房間{('很乾淨', '很髒亂')[number % 2]}第{number}次入住,{('好', '差')[number % 2]}\n".encode()
    for number in range(40)
)
OPEN_QUOTE = b'text,label\n"the quote that opens here is never closed,good\n'
FAULTY = GOOD + b"".join(b",good\n" for _ in range(5))


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    with contextlib.closing(Services(tmp_path_factory.mktemp("choices"), disk_reserve_bytes=0)) as started:
        started.start_api()
        started.wait_for_api()
        yield started


@pytest.fixture
def page(visit: Callable[..., Page], services: Services) -> Page:
    """The form in English, on the starter data."""
    return visit(services.api_address, lang="en", preset="quick_cpu")


def t(key: str, **values: Any) -> str:
    return translate("en", key, **values)


def of_label(widgets: Any, label: str) -> Any:
    found = [widget for widget in widgets if widget.label == label]
    assert found, (label, [widget.label for widget in widgets])
    return found[0]


def submit_button(page: Page) -> Any:
    return of_label(page.button, t("submit.button"))


def unfold(page: Page, sections: Iterable[str]) -> None:
    for section in sections:
        page.session_state[section_key(section)] = True
    page.run()


def choose_source(page: Page, source: str) -> None:
    (control,) = [one for one in page.segmented_control if str(one.key).startswith("data-source")]
    control.set_value(source).run()
    assert not page.exception, page.exception


def drop(page: Page, name: str, content: bytes) -> None:
    page.file_uploader(key="data_upload").upload(name, content, "text/csv").run()
    assert not page.exception, page.exception


def beyond(field: Field) -> int | float | None:
    """A number that the field does not take; None where it takes every one."""
    if field.maximum is not None:
        return field.maximum * 2 + 1
    return None if field.minimum is None else field.minimum - 1


@pytest.mark.parametrize("key", NUMBERS)
def test_a_number_out_of_bounds_is_said_at_its_field_and_stops_the_button(page: Page, key: str) -> None:
    value = beyond(NUMBERS[key])
    assert value is not None
    unfold(page, {NUMBERS[key].section})
    (widget,) = [one for one in page.number_input if str(one.key).startswith(f"field-{key}@")]
    widget.set_value(value).run()
    assert not page.exception, page.exception
    (widget,) = [one for one in page.number_input if str(one.key).startswith(f"field-{key}@")]
    assert widget.value == pytest.approx(value)
    assert any("is not allowed, must be" in error.value.replace("\\", "") for error in page.error)
    assert submit_button(page).disabled


def test_no_number_of_the_form_has_a_bound_beyond_which_the_browser_keeps_it(page: Page) -> None:
    """Streamlit's browser part sends no number beyond the bounds of a field, and gives whole ones some of 2**53."""
    unfold(page, {field.section for field in NUMBERS.values()})
    fields = [one for one in page.number_input if str(one.key).startswith("field-")]
    assert len(fields) == len(NUMBERS)
    for field in fields:
        assert field.proto.min < -1e300, field.key
        assert field.proto.max > 1e300, field.key


@pytest.mark.parametrize("value", [2**60, 1e300, 2.5])
def test_a_number_that_is_not_whole_or_larger_than_browsers_count_is_judged_as_shown(page: Page, value: float) -> None:
    of_label(page.number_input, "Epochs").set_value(value).run()
    assert not page.exception, page.exception
    assert of_label(page.number_input, "Epochs").value == value
    assert any("is not allowed, must be" in error.value.replace("\\", "") for error in page.error)
    assert submit_button(page).disabled
    of_label(page.number_input, "Epochs").set_value(2.0).run()
    assert "num_train_epochs: 2\n" in of_label(page.text_area, t("submit.yaml")).value
    assert not submit_button(page).disabled


def test_what_is_folded_is_not_made_and_what_is_wrong_there_unfolds_it(page: Page) -> None:
    keys = {str(one.key).partition("@")[0] for one in page.number_input}
    assert "field-training.num_train_epochs" in keys
    assert "field-training.weight_decay" not in keys
    tree = yaml.safe_load(of_label(page.text_area, t("submit.yaml")).value)
    tree["training"]["weight_decay"] = 0.5
    of_label(page.text_area, t("submit.yaml")).set_value(yaml.safe_dump(tree)).run()
    of_label(page.button, t("submit.yaml_take")).click().run()
    unfold(page, ["training"])
    (decay,) = [one for one in page.number_input if str(one.key).startswith("field-training.weight_decay@")]
    assert decay.value == 0.5
    decay.set_value(-1.0).run()
    page.session_state[section_key("training")] = False
    page.run()
    assert any(str(one.key).startswith("field-training.weight_decay@") for one in page.number_input)
    assert submit_button(page).disabled


def test_a_refused_file_stays_refused_and_visible_until_it_is_replaced(page: Page) -> None:
    choose_source(page, "upload")
    assert submit_button(page).disabled
    drop(page, "mine.csv", OPEN_QUOTE)
    assert any("mine" in error.value for error in page.error)
    of_label(page.number_input, "Epochs").set_value(3).run()  # another edit
    assert any("mine" in error.value for error in page.error)
    assert submit_button(page).disabled
    assert t("data_choice.first_upload") in [warning.value for warning in page.warning]

    drop(page, "better.csv", GOOD)
    assert not [error.value for error in page.error if "mine" in error.value]
    assert any("better" in caption.value for caption in page.caption)


def test_a_refused_file_does_not_leave_the_one_before_it_chosen(page: Page) -> None:
    choose_source(page, "upload")
    drop(page, "better.csv", GOOD)
    drop(page, "mine.csv", OPEN_QUOTE)
    assert submit_button(page).disabled
    choose_source(page, "starter")
    assert not page.error, [error.value for error in page.error]
    assert not submit_button(page).disabled


def test_columns_that_nothing_tells_are_chosen_from_a_list(page: Page) -> None:
    choose_source(page, "upload")
    drop(page, "columns.csv", UNTOLD)
    assert submit_button(page).disabled
    of_label(page.selectbox, t("field.data.text_column")).set_value("評論").run()
    of_label(page.selectbox, t("field.data.label_column")).set_value("評價").run()
    of_label(page.button, t("data_choice.use_columns")).click().run()
    assert not page.exception, page.exception
    assert all("not cached on this machine" in error.value for error in page.error), [e.value for e in page.error]
    told = [info.value.replace("\\", "") for info in page.info]
    assert any(
        t("reading.labels", count="2", labels=labels) in words for words in told for labels in ("好, 差", "差, 好")
    )
    assert not submit_button(page).disabled


@pytest.mark.parametrize("source", ["hub", "version", "upload"])
def test_a_source_without_data_stops_the_button(page: Page, source: str) -> None:
    assert not submit_button(page).disabled
    choose_source(page, source)
    assert submit_button(page).disabled
    assert t(f"data_choice.first_{source}") in [warning.value for warning in page.warning]


def test_rows_beyond_a_limit_stop_the_button_and_are_left_out_by_one_press(page: Page, services: Services) -> None:
    choose_source(page, "upload")
    drop(page, "faulty.csv", FAULTY)
    assert submit_button(page).disabled
    assert t("preview.rows_refused") in [caption.value for caption in page.caption]
    of_label(page.button, t("preview.leave_out", count="5")).click().run()
    assert not page.exception, page.exception
    assert [title.value for title in page.title] == [t("follow.title")]
    (run,) = services.store.find(RunFilter())
    assert run.config["data"]["gate"]["max_faulty_share"] == pytest.approx(5 / 45, abs=1e-4)
