"""When the trials of a search will have ended, at the pace of those that ended last."""

from __future__ import annotations

from datetime import datetime, timedelta

from finetune30.service.searches.standing import Standing
from finetune30.store import RunStatus
from finetune30.store.searches import SearchStatus, TrialState

#: Ended trials whose pace is taken: the workers of now, not those of yesterday.
LAST = 10


def expect_end(standing: Standing, now: datetime) -> datetime | None:
    """Return when all trials will have ended; None where that is not known.

    It is where fewer than two have ended, only limits end the search, or it does not go on. A search that stands still
    is expected later with every look.
    """
    if standing.search.status is not SearchStatus.RUNNING or not standing.has_known_length:
        return None
    ended = sum(trial.state is not TrialState.OPEN for trial in standing.trials)
    finished = (run.finished_at for run in standing.runs.values() if run.status is not RunStatus.PAUSED)
    moments = sorted(moment for moment in finished if moment is not None)[-LAST - 1 :]
    if len(moments) < 2:
        return None
    each: timedelta = (now - moments[0]) / (len(moments) - 1)
    return now + each * (standing.planned - ended)
