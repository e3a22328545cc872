"""What a press began is finished, although another press follows."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec

from streamlit.runtime.scriptrunner import RerunException

Arguments = ParamSpec("Arguments")


def finished_first(action: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """Return the action in a form that ends only when all of it is done.

    It must bear being begun again, and must not itself ask for a rerun.

    Streamlit serves a press as soon as the script looks at its session: it ends what runs, also a callback, and does
    not call that again, because the widget's value counts as known. So a choice could stand in its widget and be
    nowhere else. Here the action begins again, and the press that came in between is served after it.
    """

    @functools.wraps(action)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        interruption: RerunException | None = None
        while True:
            try:
                action(*args, **kwargs)
            except RerunException as request:
                interruption = request
            else:
                break
        if interruption is not None:
            raise interruption

    return run
