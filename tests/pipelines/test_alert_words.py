"""What standing questions ask for, in the words that people use."""

from __future__ import annotations

import pytest

from vidmem.errors import BadInput
from vidmem.pipelines.alert_words import Wanted, read_alert


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a dog appears", Wanted("a dog", "appears")),
        ("a dog", Wanted("a dog", "appears")),
        ("the dog leaves", Wanted("a dog", "disappears")),
        ("tell me when the cup is gone", Wanted("a cup", "disappears", once=True)),
        ("when does the red car come back?", Wanted("a red car", "appears", comes_back=True, once=True)),
        ("The umbrella is back.", Wanted("an umbrella", "appears", comes_back=True)),
        ("a dog shows up again", Wanted("a dog", "appears", comes_back=True)),
        ("someone enters the room", Wanted("a person in the room", "appears")),
        ("alert me whenever my car disappears", Wanted("a car", "disappears")),
        ("tell me every time that a bus comes", Wanted("a bus", "appears")),
        ("the cup isn\u2019t there any more", Wanted("a cup", "disappears")),
        ("tell me if the key has been taken", Wanted("a key", "disappears", once=True)),
        ("an EXIT sign is no longer visible", Wanted("an EXIT sign", "disappears")),
        ("a cup on the left", Wanted("a cup on the left", "appears")),
        ("a dog appears on the left", Wanted("a dog on the left", "appears")),
        ("the cat has left", Wanted("a cat", "disappears")),
        ("is there a fire?", Wanted("a fire", "appears", once=True)),
        ("a person with a helmet", Wanted("a person with a helmet", "appears")),
        ("let me know as soon as the bus arrives", Wanted("a bus", "appears", once=True)),
        ("notify me when there is a bunch of grapes", Wanted("a bunch of grapes", "appears", once=True)),
    ],
)
def test_a_question_names_a_thing_and_a_change(text: str, wanted: Wanted) -> None:
    assert read_alert(text) == wanted


@pytest.mark.parametrize("text", ["", "  ?", "tell me when", "tell me when?", "appears", "gone!"])
def test_a_question_that_names_nothing_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="names nothing to look for"):
        read_alert(text)
