import json

import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.evaluation import submission
from affwild_omg.evaluation.options import SubmissionOptions
from tests.evaluation.test_results import table

VIDEOS = "aabccd"
# Arousal, valence. As worked out in tests/scoring/test_concordance.py, CCC is
# 4/7 where .1, .2 and .3 are all 0.1 higher. That of .5, .7 against .6, .8:
# variances and covariance .01, means .1 apart, so 2/3.
TRUTH = [[0.1, 0.1], [0.2, 0.2], [0.3, 0.3], [0.5, 0.5], [0.5, 0.7], [0.9, 0]]
VALUES = [[0.2, 0.1], [0.3, 0.2], [0.4, 0.3], [0.4, 0.6], [0.5, 0.8], [0.8, 0]]
GROUPS = """\
video,age,gender
b,old,
c,young,f
x,old,m
a ,old,f
"""


def score(tmp_path, groups, **fields):
    for name, rows in (("p", VALUES), ("t", TRUTH)):
        (tmp_path / f"{name}.csv").write_text(table(VIDEOS, *rows))
    (tmp_path / "g.csv").write_text(groups)
    return submission.score(
        SubmissionOptions(
            predictions=str(tmp_path / "p.csv"),
            annotations=str(tmp_path / "t.csv"),
            groups=str(tmp_path / "g.csv"),
            output=str(tmp_path / "out"),
        ),
        overwrite=True,
    )


def test_groups_by_hand(tmp_path):
    lines = submission.table(score(tmp_path, GROUPS))
    start = next(i for i, x in enumerate(lines) if x.startswith("group, "))
    assert [" ".join(line.split()) for line in lines[start:]] == [
        "group, pooled utterances valence CCC valence interval valence bias "
        "arousal CCC arousal interval arousal bias",
        # A quarter of the samples is "b" alone, of one utterance: CCC 0.
        "age: old 3 1.000 0.000 to 1.000 0.000 0.571 0.000 to 0.571 0.100",
        # Of one video, and all labels of arousal alike.
        "age: young 2 0.667 - 0.100 too small for a CCC -0.050",
        # Of a and c. Valence: .1, .2, .5, .7 against .1, .2, .6, .8: variances
        # .056875 and .081875, covariance .068125, means .05 apart; a alone 1,
        # c alone 2/3. Arousal: .1, .2, .5, .5 against .2, .3, .4, .5: .031875,
        # .0125, .01875 and .025; a alone 1/3, c alone 0.
        "gender: f 4 0.965 0.667 to 1.000 0.050 0.833 0.000 to 0.833 0.025",
        f"--groups={tmp_path}/g.csv, names that no utterance here has: 1 (x)",
        f"--groups={tmp_path}/g.csv, utterances here without a row: 1 (d/u1)",
        "gender: 1 utterance without a value, in no group",
    ]
    stated = json.loads((tmp_path / "out" / "metrics.json").read_text())
    stated = stated["groups"]
    assert (stated["unknown"], stated["missing"]) == (["x"], ["d/u1"])
    old, young = stated["scores"]["age"]
    assert old["arousal_ccc"] == pytest.approx(4 / 7)
    assert old["arousal_ccc_high"] == pytest.approx(4 / 7)
    assert old["arousal_bias"] == pytest.approx(0.1)
    assert (young["utterances"], young["videos"]) == (2, 1)
    assert "arousal_ccc" not in young
    assert young["valence_ccc"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    "groups",
    [
        "name,race\na/u1,k\na/u2,k\nb/u1,k\nd/u1,l\n",
        "video,utterance,race\na,u1,k\na,u2,k\nb,u1,k\nd,u1,l\n",
    ],
)
def test_groups_of_utterances_by_name(tmp_path, groups):
    found = score(tmp_path, groups)
    (many, one) = found.by_group["race"]
    assert many.scores["arousal"].ccc == pytest.approx(4 / 7)
    assert (one.name, one.utterances) == ("l", 1)
    assert not one.scores["valence"].varies
    assert found.groups.missing == ["c/u1", "c/u2"]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ("video,age\nx,old\ny,old\n", "names no video of these.* x, y, they"),
        ("name,age\na,old\n", "names no name of these.* a, they are a/u1"),
        ("age\nold\n", "has columns age; they must be name"),
        ("video\na\n", "has columns video; they must be name"),
        ("name,video,age\na/u1,a,o\n", "has columns name, video, age; they"),
        ("video,age,age\na,o,o\n", "has columns video, age, age; they must"),
        ("video,age\na,o\na,y\n", "line 3: each video must occur once"),
        ("video,age\na\n", "line 2 has 1 fields, the header 2"),
    ],
)
def test_bad_tables_of_groups_are_told(tmp_path, groups, message):
    with pytest.raises(UserError, match=f"--groups=.*{message}"):
        score(tmp_path, groups)
    assert not (tmp_path / "out").exists()
