"""A table on a console and in Markdown."""

import pytest

from affwild_omg.cli.tables import Table

TABLE = Table(
    ["row", "kind", "CCC", "p"],
    [["valence", "a|b", "0.5", "0.034"], ["x", "", "-0.125"]],
    words=2,
)


def test_words_are_aligned_left_and_numbers_right():
    assert TABLE.lines() == [
        "row      kind     CCC      p",
        "valence  a|b      0.5  0.034",
        "x              -0.125",
    ]


def test_markdown_keeps_bars_inside_their_cells():
    assert TABLE.markdown() == [
        "| row | kind | CCC | p |",
        "| --- | --- | ---: | ---: |",
        "| valence | a\\|b | 0.5 | 0.034 |",
        "| x |  | -0.125 |  |",
    ]


def test_the_caption_stands_above():
    table = Table(["a"], [["1"]], words=0, caption="What it shows")
    assert table.lines() == ["What it shows", "", "a", "1"]
    assert table.markdown() == [
        "What it shows",
        "",
        "| a |",
        "| ---: |",
        "| 1 |",
    ]


def test_a_row_has_no_more_cells_than_there_are_columns():
    with pytest.raises(ValueError, match="zip"):
        Table(["a"], [["1", "2"]]).lines()
