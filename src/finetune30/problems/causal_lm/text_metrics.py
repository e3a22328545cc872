"""How like a wanted answer an answer is: letter by letter, and by shared runs of characters (chrF)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

#: chrF of Popović 2015: runs of up to 6 characters, recall counts twice as much as precision (beta 2).
_LONGEST, _BETA = 6, 2.0


def is_same_text(answer: str, wanted: str) -> bool:
    """Tell whether two texts are the same but for white space, which counts as one space wherever it stands."""
    return answer.split() == wanted.split()


def chrf(answers: Sequence[str], references: Sequence[str]) -> float:
    """Return chrF2 of a corpus, 0 to 1: the mean over orders of F2 of character runs, white space left out.

    As sacrebleu computes it: counts are summed over all answers, and orders for which one side has no run are left out.
    """
    matches, given, wanted = [0] * _LONGEST, [0] * _LONGEST, [0] * _LONGEST
    for answer, reference in zip(answers, references, strict=True):
        for order in range(_LONGEST):
            ours, theirs = _runs(answer, order + 1), _runs(reference, order + 1)
            matches[order] += sum((ours & theirs).values())
            given[order] += sum(ours.values())
            wanted[order] += sum(theirs.values())
    scores = [
        _f_score(hits / g, hits / w) for hits, g, w in zip(matches, given, wanted, strict=True) if g > 0 and w > 0
    ]
    return sum(scores) / len(scores) if scores else 0.0


def _runs(text: str, length: int) -> Counter[str]:
    letters = "".join(text.split())
    return Counter(letters[i : i + length] for i in range(len(letters) - length + 1))


def _f_score(precision: float, recall: float) -> float:
    factor = _BETA**2
    both = factor * precision + recall
    return (1 + factor) * precision * recall / both if both else 0.0
