"""Keeping transformers quiet."""

from __future__ import annotations

import warnings


class quiet_transformers:  # noqa: N801 - reads like a statement
    """Keep transformers from printing load reports and progress bars; ours are printed instead."""

    def __enter__(self) -> None:
        from transformers.utils import logging

        self._level, self._bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        # transformers warns about its own deprecated attributes while it builds a model; nobody here can act on it.
        warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
        logging.set_verbosity_error()
        logging.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        from transformers.utils import logging

        self._warnings.__exit__(None, None, None)
        logging.set_verbosity(self._level)
        if self._bars:
            logging.enable_progress_bar()
