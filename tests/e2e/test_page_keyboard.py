"""The page without a mouse: only keys are pressed, and what they go through has names for a screen reader."""

from __future__ import annotations

import contextlib
import re

import pytest

from finetune30.store import RunStatus
from support.page_marks import AT_REST, FORM, TASK, wait_for_state
from support.present import present

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = playwright.expect

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

#: More stops than any page has.
MOST_STOPS = 150
HAS_FOCUS = "nodes => nodes.includes(document.activeElement)"
#: What people act on; its name is all that a screen reader says of it.
CONTROLS = frozenset(
    "button checkbox combobox link menuitem radio searchbox slider spinbutton switch tab textbox".split()
)


@pytest.fixture(scope="module")
def finished(stack):
    run_id = stack.submit("compared by keyboard")
    stack.services.wait_for(run_id, RunStatus.SUCCEEDED, seconds=300)
    return run_id


class Keyboard:
    """A person who only presses keys."""

    def __init__(self, page):
        self.page = page

    def reach(self, target):
        """Press Tab until the target has the focus; it may be drawn only after a while."""
        self.page.locator(AT_REST).wait_for()
        target.first.wait_for(state="attached")
        for _ in range(MOST_STOPS):
            self.page.keyboard.press("Tab")
            if target.evaluate_all(HAS_FOCUS):
                return
        raise AssertionError(f"{target} is not reached with Tab")

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def use(self, target, key="Enter"):
        self.reach(target)
        self.press(key)

    def choose(self, target, start, whole):
        """Type the start of a choice and take it. A page that scrolls or is drawn anew closes the list: begin again."""
        self.reach(target)
        for _ in range(5):
            self.press("Control+a")
            self.page.keyboard.type(start)
            with contextlib.suppress(AssertionError):
                expect(target.first).to_have_attribute("aria-activedescendant", re.compile("."), timeout=2_000)
                self.press("Enter")
                expect(target.first).to_have_value(re.compile(whole), timeout=2_000)
                return
        raise AssertionError(f"{whole} cannot be chosen with keys")

    def insist(self, target, keys, effect):
        """Press keys on a target until they show their effect: a table that is drawn anew loses them."""
        for _ in range(6):
            self.reach(target)
            self.press(*keys)
            with contextlib.suppress(playwright.TimeoutError):
                effect.wait_for(timeout=20_000)
                return
        raise AssertionError(f"{keys} on {target} show no effect")

    def write(self, target, text):
        self.reach(target)
        self.press("Control+a")
        self.page.keyboard.type(text)
        self.press("Tab")
        self.page.locator(AT_REST).wait_for()


def test_from_a_submission_to_a_question(open_page, stack, finished):
    page = open_page(FORM)
    keyboard = Keyboard(page)
    main, side = page.get_by_test_id("stMain"), page.get_by_test_id("stSidebar")

    # submit: a preset, a common setting, a folded one
    keyboard.choose(page.get_by_role("combobox", name="Preset"), "quick", "quick_cpu")
    name = page.get_by_role("textbox", name="Experiment name")
    expect(name.first).to_have_value("quick_cpu", timeout=300_000)
    expect(name).to_have_count(1)  # those of the draft before are gone
    keyboard.write(name, "by keyboard")
    keyboard.use(page.locator("summary", has_text="LoRA: further settings"))
    keyboard.choose(page.get_by_role("combobox", name="Bias"), "lora_", "lora_only")
    keyboard.use(page.get_by_role("button", name="Submit", exact=True))
    page.wait_for_url(TASK)
    task_id = present(TASK.search(page.url)).group()
    wait_for_state(page, "finished")
    run = stack.services.store.get(task_id)
    assert (run.name, run.config["lora"]["bias"]) == ("by keyboard", "lora_only")

    # experiments: two rows marked, compared
    keyboard.use(side.get_by_role("link", name="Experiments"))
    page.get_by_role("heading", name="Experiments", exact=True).wait_for()
    grid = main.locator("[role=grid], [role=gridcell], canvas")
    keyboard.insist(grid, ["Control+Home", "Shift+Space"], page.get_by_text("Compare (1)"))
    keyboard.insist(grid, ["Control+Home", "ArrowDown", "Shift+Space"], page.get_by_text("Compare (2)"))
    keyboard.use(main.get_by_role("link", name="Compare (2)"))
    page.get_by_role("heading", name="Compare runs").wait_for()
    page.get_by_role("heading", name="Evaluation rows", exact=False).wait_for()

    # a run: both are marked still and let go, one is marked anew; asked before it is deleted, and left
    keyboard.use(side.get_by_role("link", name="Experiments"))
    page.get_by_text("Compare (2)").wait_for()
    keyboard.use(page.get_by_role("button", name="Unmark"))
    page.get_by_text("Compare (0)").wait_for()
    keyboard.insist(grid, ["Control+Home", "Shift+Space"], page.get_by_text("Compare (1)"))
    keyboard.use(main.get_by_role("link", name="Open the run"))
    page.get_by_role("heading", name="by keyboard").wait_for()
    keyboard.use(page.get_by_role("button", name="Delete"))
    keyboard.use(page.get_by_role("button", name="No, leave it"))
    page.get_by_role("button", name="Delete by keyboard").wait_for(state="detached")

    # a question, and the other language
    keyboard.use(main.get_by_role("link", name="Try"))
    keyboard.write(page.get_by_role("textbox", name="Text", exact=True), "A splendid film.")
    keyboard.use(page.get_by_role("button", name="Ask", exact=True))
    page.get_by_text(re.compile(r"positive . \d")).wait_for(timeout=900_000)
    keyboard.use(side.get_by_role("radio", name="繁體中文"), "Space")
    page.get_by_role("heading", name="試用").wait_for()


def test_file_is_chosen_and_rows_are_relabelled(open_page, stack, finished, tmp_path):
    rows = "".join(f"this film was {'bad' if n % 2 else 'good'} and number {n},{n % 2}\n" for n in range(40))
    (tmp_path / "by_keyboard.csv").write_text(f"text,label\n{rows}", encoding="utf-8")
    page = open_page(FORM)
    keyboard = Keyboard(page)

    # a file for the form: the system's own dialogue opens, which keys can use
    keyboard.reach(page.get_by_role("radio", name="Starter reviews (English)"))
    upload = page.get_by_role("radio", name="Upload a file")
    for _ in range(5):
        keyboard.press("ArrowRight")
        if upload.evaluate_all(HAS_FOCUS):
            break
    keyboard.press("Space")
    uploader = page.get_by_test_id("stFileUploader").filter(has_text="PARQUET")
    with page.expect_file_chooser() as waiting:
        keyboard.use(uploader.get_by_role("button", name="Upload"))
    waiting.value.set_files(tmp_path / "by_keyboard.csv")
    page.get_by_text(re.compile(r"Chosen: .*by_keyboard\.csv")).wait_for()
    keyboard.use(page.get_by_role("button", name="Look at the data"))
    page.get_by_text("Where every row went").wait_for()

    # rows of a version: one label changed, one row removed
    digest = stack.services.store.get(finished).dataset_digest
    page.goto(page.url.partition("?")[0].rstrip("/") + f"/data?version={digest[:12]}")
    page.get_by_text("Change labels or mark rows").wait_for()
    grid = page.get_by_test_id("stDataFrame").last.locator("[role=grid], [role=gridcell], canvas")
    keyboard.use(grid, "ArrowRight")
    keyboard.press("Space")
    page.get_by_text("Changes not saved yet: 1").wait_for()
    page.locator(AT_REST).wait_for()
    keyboard.press("ArrowDown", "ArrowLeft", "Enter")
    page.locator("#portal [role=combobox]").wait_for()  # the editor of the cell
    page.keyboard.type("positive")
    keyboard.press("Enter")
    page.get_by_text("Changes not saved yet: 2").wait_for()
    keyboard.write(page.get_by_role("textbox", name="Why (kept with the version)"), "without a mouse")
    keyboard.use(page.get_by_role("button", name="Make a new version"))
    page.get_by_text(re.compile("Made version [0-9a-f]{12}: 1 .* 1 ")).wait_for()

    # what opens over the page
    keyboard.use(page.get_by_role("button", name="Add a tag"))
    keyboard.write(page.get_by_role("textbox", name="Tag", exact=True), "keys")
    keyboard.use(page.get_by_role("button", name="Give this tag"))
    page.get_by_role("button", name="Remove tag keys").wait_for()


def test_every_control_is_reached_with_tab_and_has_a_name(open_page, finished):
    page = open_page(FORM)
    root = page.url.partition("?")[0].rstrip("/")
    for path in (
        "/submit",
        f"/follow?task={finished}",
        "/experiments",
        f"/run?run={finished}",
        f"/compare?ids={finished}",
        "/data",
        f"/try?run={finished}",
    ):
        page.goto(root + path)
        page.get_by_role("heading", level=1).wait_for()
        expect(page.get_by_test_id("stStatusWidget")).to_have_count(0, timeout=300_000)
        page.locator(AT_REST).wait_for()
        assert unnamed_controls(page) == [], path
        page.evaluate("() => { window.reached = new Set() }")
        for _ in range(2 * MOST_STOPS):
            page.keyboard.press("Tab")
            page.evaluate("() => { window.reached.add(document.activeElement) }")
            if page.evaluate("() => document.activeElement === document.body") and not page.evaluate(UNREACHED):
                break
        assert page.evaluate(UNREACHED) == [], path


#: Visible things to press or fill in that Tab did not come to; of radio buttons one, and the arrow keys do the rest.
UNREACHED = """() => [...document.querySelectorAll("button, a[href], input, textarea, summary")]
    .filter(e => !window.reached.has(e) && !e.disabled && e.getAttribute("role") !== "radio")
    .filter(e => e.checkVisibility({visibilityProperty: true, opacityProperty: true}))
    .filter(e => e.tabIndex >= 0 && e.getClientRects().length)
    .map(e => e.outerHTML.slice(0, 200))"""


def unnamed_controls(page):
    """Controls in the accessibility tree without a name."""
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    return [
        node
        for node in tree
        if not node["ignored"]
        and node.get("role", {}).get("value") in CONTROLS
        and not node.get("name", {}).get("value", "").strip()
    ]
