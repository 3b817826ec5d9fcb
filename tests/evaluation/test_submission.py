import dataclasses

import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.evaluation import results, submission
from affwild_omg.evaluation.options import SubmissionOptions
from affwild_omg.scoring import significance
from tests.evaluation.test_results import ccc_by_hand

HEADER = "link,start,end,video,utterance,arousal,valence,EmotionMaxVote\n"


def annotations(rows):
    """Returns a table in the organisers' form, arousal before valence."""
    return HEADER + "".join(
        f"url,0,1,{video},{utterance},{arousal},{valence},3\n"
        for video, utterance, arousal, valence in rows
    )


@pytest.fixture
def files(tmp_path):
    """Writes the two tables and returns their options."""

    def files(predictions, truth, **fields):
        for name, text in (("p.csv", predictions), ("a.csv", truth)):
            (tmp_path / name).write_text(text)
        return SubmissionOptions(
            predictions=str(tmp_path / "p.csv"),
            annotations=str(tmp_path / "a.csv"),
            output=str(tmp_path / "out"),
            **fields,
        )

    return files


def random_rows(seed, count=40):
    random = np.random.default_rng(seed)
    return [
        (f"v{i % 7}", f"u{i}", *map(float, random.random(2)))
        for i in range(count)
    ]


@pytest.mark.parametrize("match", ["key", "order"])
def test_scores_to_twelve_digits(files, tmp_path, match):
    truth, rows = random_rows(1), random_rows(2)
    order = np.random.default_rng(3).permutation(len(rows))
    # By key, rows and columns may stand in any order.
    shuffled = [rows[i] for i in order] if match == "key" else rows
    text = "valence,utterance,arousal,video\n" + "".join(
        f"{v},{utterance},{a},{video}\n" for video, utterance, a, v in shuffled
    )
    found = submission.score(files(text, annotations(truth), match=match))
    scores = found.headline
    for column, target in ((2, "arousal"), (3, "valence")):
        x, y = ([row[column] for row in table] for table in (truth, rows))
        score = scores.targets[target]
        r, mse = np.corrcoef(x, y)[0, 1], np.mean(np.subtract(x, y) ** 2)
        assert (score.ccc, score.pearson, score.mse) == pytest.approx(
            (ccc_by_hand(x, y), r, mse), abs=1e-12
        )
    assert (scores.rows, scores.videos) == (40, 7)
    assert (tmp_path / "out" / "scatter.png").is_file()
    # What others read back has every digit.
    again = results.read(tmp_path / "out", flag="--results")
    assert again.to_dict() == found.to_dict()
    assert again.keys == [f"{video}/{name}" for video, name, *_ in truth]
    expected = [(valence, arousal) for *_, arousal, valence in rows]
    np.testing.assert_array_equal(again.predictions, expected)


@pytest.mark.parametrize("named", ["predictions", "annotations"])
def test_order_needs_the_names_of_one_table(files, named):
    """As the organisers' script; names draw videos."""
    truth = random_rows(1)
    bare = "arousal,valence\n" + "".join(f"{a},{v}\n" for *_, a, v in truth)
    tables = [
        annotations(truth) if name == named else bare
        for name in ("predictions", "annotations")
    ]
    found = submission.score(files(*tables, match="order"))
    assert found.scores().mean_ccc == pytest.approx(1)
    assert found.provenance.misordered is None
    assert found.keys[1] == "v1/u1"
    assert found.scores().videos == 7


def test_order_tells_of_rows_that_are_not_the_same(files):
    truth = [("a", "1", 0.1, 0.2), ("a", "2", 0.3, 0.1), ("b", "1", 0.9, 0.9)]
    rows = [("a", "1", 0.1, 0.2), ("b", "1", 0.3, 0.1), ("a", "2", 0.9, 0.9)]
    found = submission.score(
        files(annotations(rows), annotations(truth), match="order")
    )
    assert found.scores().mean_ccc == pytest.approx(1)  # as the organisers'
    assert found.provenance.misordered == [
        {"row": 2, "predictions": "b/1", "annotations": "a/2"},
        {"row": 3, "predictions": "a/2", "annotations": "b/1"},
    ]
    assert submission.table(found)[-1] == (
        "rows that are of different utterances in the two tables: 2, see "
        "misordered in metrics.json"
    )
    # Videos are drawn as the truth has them.
    assert found.videos == ["a", "a", "b"]


def test_the_mean_of_the_videos_cccs(files):
    truth, rows = random_rows(1), random_rows(2)
    found = submission.score(
        files(annotations(rows), annotations(truth), pooling="per_video")
    )
    per_video = found.scores(pooling="per_video").cccs
    assert found.headline.cccs == per_video != found.scores().cccs
    line = submission.table(found)[-1]
    assert "matched by key, CCC averaged over the videos;" in line


def test_rows_without_a_match_are_listed(files):
    truth = [("b", "1", 0.9, 0.9), ("a", "2 ", 0.3, 0.1), ("a", "1", 0.1, 0.2)]
    text = "video,utterance,arousal,valence\n"
    text += "a,1,0.1,0.2\nc,9,0,0\na,2,0.3,0.1\n"
    found = submission.score(files(text, annotations(truth)))
    # The space behind an utterance is of one published table.
    assert found.keys == ["a/2", "a/1"]
    assert found.scores().mean_ccc == pytest.approx(1)
    assert found.provenance.unmatched == {
        "predictions": ["c/9"],
        "annotations": ["b/1"],
    }
    assert submission.table(found)[-1] == (
        "2 of 3 annotated utterances matched by key, CCC over all of them; "
        "without a match: 1 prediction, 1 annotation"
    )
    assert found.provenance.coverage == pytest.approx(2 / 3)


def test_one_target_is_scored_alone(files):
    truth = random_rows(1)
    text = "video,utterance,valence\n" + "".join(
        f"{video},{utterance},{v}\n" for video, utterance, _, v in truth
    )
    found = submission.score(files(text, annotations(truth)))
    assert found.scores().cccs == {"valence": pytest.approx(1)}
    assert "arousal is not scored" in "\n".join(submission.table(found))


GOOD = "video,utterance,arousal,valence\na,1,0.1,0.2\na,2,0.3,0.1\n"
TRUTH = annotations([("a", "1", 0.1, 0.2), ("a", "2", 0.3, 0.1)])
BARE = "arousal,valence\n0.1,0.2\n0.3,0.1\n"


@pytest.mark.parametrize(
    ("predictions", "truth", "match", "message"),
    [
        (GOOD.replace("0.3", "nan"), TRUTH, "key", "p.csv, line 3: arousal"),
        (GOOD, "video,utterance\na,1\n", "key", "a.csv has columns video, utt"),
        (GOOD.replace("a,", "z,"), TRUTH, "key", "no utterance in common"),
        (GOOD + "a,3,0,0\n", TRUTH, "order", "has 3 rows, .*a.csv 2"),
        (BARE, BARE, "order", "neither --predictions=.* video and utterance"),
        (
            GOOD.replace("arousal", "mood"),
            TRUTH.replace("valence", "mood"),
            "key",
            "--predictions=.*p.csv and --.*a.csv have no column in common",
        ),
    ],
)
def test_bad_tables_are_told(
    files, tmp_path, predictions, truth, match, message
):
    with pytest.raises(UserError, match=message):
        submission.score(files(predictions, truth, match=match))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["predictions", "annotations"])
def test_the_tables_that_are_read_are_not_replaced(files, tmp_path, name):
    options = files(GOOD, TRUTH)
    missing = dataclasses.replace(options, **{name: "nowhere.csv"})
    with pytest.raises(UserError, match=f"--{name}=nowhere.csv is not a file"):
        submission.score(missing)
    own = tmp_path / "mine" / "labels.csv"
    own.parent.mkdir()
    own.write_text(GOOD)
    options = dataclasses.replace(
        options, output=str(own.parent), **{name: str(own)}
    )
    message = f"--output=.*mine would replace --{name}=.*another folder"
    with pytest.raises(UserError, match=message):
        submission.score(options, overwrite=True)
    assert own.read_text() == GOOD
    # Beside what is written it may stay.
    own = own.rename(own.with_name("submission.csv"))
    options = dataclasses.replace(options, **{name: str(own)})
    submission.score(options, overwrite=True)
    assert own.read_text() == GOOD


def test_intervals_draw_the_links_of_the_annotations(files, tmp_path):
    """Seven videos of three links, one of them without any."""
    truth, rows = random_rows(1), random_rows(2)
    text = annotations(truth)
    for i in range(7):
        link = f"link{i % 3}" if i else ""
        text = text.replace(f"url,0,1,v{i},", f"{link},0,1,v{i},")
    found = submission.score(files(annotations(rows), text))
    clusters = [
        f"link{int(video[1:]) % 3}" if video != "v0" else "v0"
        for video, *_ in truth
    ]
    x, y = ([row[3] for row in table] for table in (truth, rows))
    expected = significance.interval(x, y, clusters)
    assert found.headline.intervals["valence"] == expected
    again = results.read(tmp_path / "out", flag="--results")
    assert again.headline.intervals["valence"] == expected
