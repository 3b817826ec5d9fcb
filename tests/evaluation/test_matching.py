import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.evaluation import matching
from affwild_omg.evaluation.results import Results

NAN = float("nan")


def run(keys, targets, predictions, labels):
    return Results(
        keys=[f"v/{key}" for key in keys],
        targets=targets,
        predictions=np.array(predictions),
        labels=np.array(labels),
        metrics={},
    )


def test_rows_and_columns_by_hand():
    first = run("ab", ("arousal",), [[0.1], [0.2]], [[0.3], [NAN]])
    second = run(
        "ba",
        ("valence", "arousal"),
        [[-0.1, 0.5], [-0.2, 0.6]],
        [[-0.3, 0.4], [NAN, NAN]],
    )
    found = matching.align({"--x=1": first, "--x=2": second})
    assert found.keys == ["v/a", "v/b"]
    assert found.targets == ("valence", "arousal")
    np.testing.assert_array_equal(
        found.predictions,
        [[[NAN, 0.1], [NAN, 0.2]], [[-0.2, 0.6], [-0.1, 0.5]]],
    )
    # Each label from the folder that knows it.
    np.testing.assert_array_equal(found.labels, [[NAN, 0.3], [-0.3, 0.4]])


def test_labels_may_differ_by_their_rounding_alone():
    def pair(difference):
        return {
            f"--x={i}": run("a", ("valence",), [[0.0]], [[0.25 + shift]])
            for i, shift in enumerate((0, difference))
        }

    assert matching.align(pair(5e-7)).labels == 0.25
    message = (
        "--x=1: v/a has the valence label 0.26, in a folder before it 0.25"
    )
    with pytest.raises(UserError, match=message):
        matching.align(pair(0.01))


def test_utterances_that_one_lacks_are_named():
    one, other = (
        run(x, ("valence",), [[0.0]] * 2, [[0.0]] * 2) for x in ("ab", "bc")
    )
    with pytest.raises(
        UserError,
        match=r"--x=2 lacks 1 \(v/a\) and adds 1 \(v/c\) against the 2 utter",
    ):
        matching.align({"--x=1": one, "--x=2": other})


def test_a_hundred_are_named_and_more_are_counted():
    keys = [f"u{i}" for i in range(102)]
    whole, one, other = (
        run(x, ("valence",), [[0.0]] * len(x), [[0.0]] * len(x))
        for x in (keys, keys[:2], keys[:1])
    )
    with pytest.raises(UserError) as caught:
        matching.align({"--x=1": whole, "--x=2": one})
    assert all(f"v/{key}" in str(caught.value) for key in keys[2:])
    with pytest.raises(UserError, match=r"lacks 101 .*, v/u100 and 1 more\)"):
        matching.align({"--x=1": whole, "--x=2": other})
