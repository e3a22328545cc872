"""A stop text is found however it comes in pieces, and nothing of it is told."""

from __future__ import annotations

import pytest

from finetune30.api.serving.stop_texts import StopTexts

TOLD = {
    ("no stop",): "no stop",
    ("all at once END more",): "all at once ",
    ("in ", "E", "N", "D", "!"): "in ",
    ("nearly EN", "OUGH"): "nearly ENOUGH",
    ("E", "E", "END"): "EE",
    ("first \n\n", "END"): "first ",
    ("ends with EN",): "ends with EN",
}


@pytest.mark.parametrize("pieces", TOLD)
def test_an_answer_ends_before_its_stop_text(pieces: tuple[str, ...]) -> None:
    stops, told = StopTexts(["END", "\n\n"]), ""
    for piece in pieces:
        told += stops.pass_on(piece)
        if stops.found:
            break
    else:
        told += stops.end()
    assert told == TOLD[pieces]
    assert stops.found == (TOLD[pieces] != "".join(pieces))
