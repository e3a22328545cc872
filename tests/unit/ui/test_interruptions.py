"""Another press may end a callback at any look at the session: what it began is done all the same."""

from __future__ import annotations

import pytest

runner = pytest.importorskip("streamlit.runtime.scriptrunner", reason="Streamlit is not installed")

from finetune30.ui.interruptions import finished_first  # noqa: E402


class Session(dict):
    """A session in which other presses arrive before the looks of these numbers."""

    def __init__(self, *presses):
        super().__init__()
        self.presses, self.looks = presses, 0

    def __setitem__(self, key, value):
        self.looks += 1
        if self.looks in self.presses:
            raise runner.RerunException(runner.RerunData(query_string=f"press={self.looks}"))
        super().__setitem__(key, value)


@pytest.mark.parametrize("presses", [(1,), (2,), (3,), (1, 2, 3), (3, 6)])
def test_all_is_done_and_the_last_press_is_served(presses):
    session = Session(*presses)

    @finished_first
    def take(first, *, third):
        session["a"], session["b"], session["c"] = first, 2, third

    with pytest.raises(runner.RerunException) as served:
        take(1, third=3)
    assert session == {"a": 1, "b": 2, "c": 3}
    assert served.value.rerun_data.query_string == f"press={presses[-1]}"


def test_undisturbed_action_runs_once():
    session = Session()
    finished_first(session.__setitem__)("a", 1)
    assert (session, session.looks) == ({"a": 1}, 1)


def test_faults_of_the_action_are_not_held_back():
    def stumble() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        finished_first(stumble)()
