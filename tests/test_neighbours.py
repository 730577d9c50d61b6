"""The lesson of neighbours: which words stand around which, by their boxes, and how the lesson is scored."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from insightv_core.nano.training.neighbours import (
    SLOTS,
    find_neighbours,
    locate_neighbours,
    make_head,
    neighbour_loss,
)


def box(across, down):
    return (across - 10, down - 8, across + 10, down + 8)


def around(words, name):
    """Return {slot: words there} of the word with that name."""
    found = {}
    for word, slot, neighbour in find_neighbours(words):
        if words[word][0] == name:
            found.setdefault(SLOTS[slot], []).append(words[neighbour][0])
    return found


def test_a_bars_value_is_known_at_its_name():
    words = [("pen", box(100, 340)), ("cup", box(160, 380)), ("red", box(100, 250)), ("7", box(100, 120)),
             ("blue", box(160, 300)), ("3", box(160, 260))]  # fmt: skip
    assert around(words, "pen")["above"] == ["red"] and around(words, "pen")["second above"] == ["7"]
    assert around(words, "cup")["top of the column"] == ["3"]
    assert around(words, "7")["foot of the column"] == ["pen"] and "above" not in around(words, "7")


def test_a_cell_knows_its_row_and_its_column():
    words = [("won", box(200, 50)), ("lost", box(300, 50)), ("Ana", box(80, 120)), ("4", box(200, 120)),
             ("9", box(300, 122)), ("Leo", box(80, 190)), ("6", box(200, 190)), ("1", box(300, 190))]  # fmt: skip
    cell = around(words, "1")
    assert cell["first of the row"] == ["Leo"] and cell["top of the column"] == ["lost"] and cell["left"] == ["6"]
    row = around(words, "Ana")
    assert row["right"] == ["4"] and row["second right"] == ["9"]


def test_words_at_one_place_are_one_neighbour_and_not_their_own():
    words = [("red", box(100, 100)), ("star", box(100, 100)), ("blue", box(200, 100)), ("circle", box(200, 100))]
    assert around(words, "red")["right"] == ["blue", "circle"] and "second right" not in around(words, "red")
    assert around(words, "star") == around(words, "red")


def test_a_side_lies_between_its_corners():
    words = [("A", box(50, 50)), ("B", box(150, 50)), ("C", box(150, 250)), ("8", box(100, 40)), ("5", box(160, 150))]
    side = around(words, "8")
    assert {*side["nearest of the other kind"], *side["second nearest of the other kind"]} == {"A", "B"}


middles = st.integers(0, 447)


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "1", "22"]), st.tuples(middles, middles)), max_size=12))
def test_any_layout_has_neighbours_that_are_elsewhere(laid):
    words = [(word, box(*middle)) for word, middle in laid]
    found = find_neighbours(words)
    assert len(set(found)) == len(found)
    for word, slot, neighbour in found:
        (ax, ay), (bx, by) = laid[word][1], laid[neighbour][1]
        assert (ax, ay) != (bx, by) and 0 <= slot < len(SLOTS)
        if SLOTS[slot] in ("above", "second above", "top of the column"):
            assert by < ay and abs(ax - bx) <= 16


def test_a_neighbour_of_several_tokens_counts_once_for_each():
    drawn = [[], [("ab", box(100, 200)), ("12", box(100, 100))]]
    words = [[150, 151, 170, 171], [7, 8, 1, 2], [0, 0, 1, 1]]  # places, tokens, word numbers
    found = locate_neighbours(drawn, words).T.tolist()
    assert [150, SLOTS.index("above"), 1] in found and [150, SLOTS.index("above"), 2] in found
    assert {place for place, _, _ in found} == {150, 170}  # where a word begins
    assert locate_neighbours([[]], [[], [], []]).shape == (3, 0)


def test_the_loss_is_low_where_features_tell_the_neighbour():
    torch.manual_seed(0)
    embeddings, head = torch.randn(30, 16), make_head(16)
    with torch.no_grad():
        head.weight.view(len(SLOTS), 16, 16)[3] = torch.eye(16)
    features = torch.zeros(40, 16)
    features[5], features[9] = embeddings[11], embeddings[12]
    right = torch.tensor([[5, 9], [3, 3], [11, 12]])
    wrong = torch.tensor([[5, 9], [3, 3], [12, 11]])
    assert neighbour_loss(head, right, features, embeddings) < 0.1
    assert neighbour_loss(head, wrong, features, embeddings) > 3
    nothing = neighbour_loss(head, torch.zeros(3, 0, dtype=torch.long), features.requires_grad_(), embeddings)
    nothing.backward()
    assert nothing == 0 and not features.grad.any()


@pytest.mark.parametrize("far", [17, -17])
def test_columns_have_edges(far):
    assert not around([("a", box(100 + far, 200)), ("b", box(100, 100))], "a")
