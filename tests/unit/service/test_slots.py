"""Names under which a server answers: the words that it was given, without doubles."""

from __future__ import annotations

import pytest

from finetune30.errors import NotFoundError
from finetune30.service.registry.registering import parse_version_name
from finetune30.service.serving.slots import Slots


def test_every_word_that_was_given_leads_to_its_slot() -> None:
    slots = Slots.named(["reviews", "reviews@production", "reviews@latest", "shop:2"], parse_version_name)
    assert [str(slot.reference) for slot in slots.slots] == ["reviews@latest", "reviews@production", "shop:2"]
    found = {name: str(slots.find_slot(name).reference) for name in ("reviews", "reviews@production", "shop", "shop:2")}
    assert found == {
        "reviews": "reviews@latest",
        "reviews@production": "reviews@production",
        "shop": "shop:2",
        "shop:2": "shop:2",
    }


def test_a_model_of_which_two_are_served_is_named_in_full() -> None:
    slots = Slots.named(["reviews:1", "reviews@production"], parse_version_name)
    for name in ("reviews", "others"):
        with pytest.raises(NotFoundError, match="there are: reviews:1, reviews@production"):
            slots.find_slot(name)
