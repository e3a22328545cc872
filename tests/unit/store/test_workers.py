"""Workers report themselves; the silent and the dead are not listed."""

from __future__ import annotations

from finetune30.store.process_identity import own_identity
from finetune30.store.workers import SILENCE_SECONDS, load_workers, remove_worker, report_worker


def test_workers_are_listed_until_silent_removed_or_dead(lab):
    report_worker(lab.store, own_identity(), "here", ("cpu", "cpu"))
    report_worker(lab.store, "elsewhere:boot:1:1", "there", ("cuda:0",))
    dead = own_identity().rsplit(":", 2)[0] + ":4194304:1"
    report_worker(lab.store, dead, "dead", ("cpu",))
    assert [(w.node, w.slots) for w in load_workers(lab.store)] == [("here", ("cpu", "cpu")), ("there", ("cuda:0",))]
    lab.clock.advance(SILENCE_SECONDS + 1)
    report_worker(lab.store, own_identity(), "here", ("cpu", "cpu"))
    assert [w.node for w in load_workers(lab.store)] == ["here"]
    remove_worker(lab.store, own_identity())
    assert load_workers(lab.store) == []
