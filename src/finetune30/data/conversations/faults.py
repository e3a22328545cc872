"""A fault of one row's conversation: the rule it breaks and what to do, with the turn and its role."""

from __future__ import annotations


class ConversationFault(Exception):  # noqa: N818 - a finding about a row, which stops nothing
    """`rule` is one of the rules of rows (`finetune30.config.validation.RuleName`), `fix` what a person reads."""

    def __init__(self, rule: str, *, fix: str) -> None:
        super().__init__(fix)
        self.rule, self.fix = rule, fix
