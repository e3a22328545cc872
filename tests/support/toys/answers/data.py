"""How rows ask for the grade of an answer: as `ordinal`, under names of their own."""

from __future__ import annotations

from finetune30.data.problem import Problem, Role
from support.toys import ANSWERS
from support.toys.ordinal.data import Ordinal


class Answers(Ordinal):
    """Question and answer are encoded as a pair; the configuration has no keys for either."""

    name = ANSWERS
    columns = (
        Role("prompt", "prompt_column", "text", ("asked",)),
        Role("completion", "completion_column", "text", ("completion", "answer")),
        Role("grade", "grade_column", "target", ("grade",)),
    )


PROBLEMS: dict[str, Problem] = {ANSWERS: Answers()}
