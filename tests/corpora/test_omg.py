import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.corpora import omg
from affwild_omg.corpora.problems import Problems

HEADER = "link,start,end,video,utterance,arousal,valence,EmotionMaxVote\n"
LABELLED = "omg_TrainVideos.csv"
BARE = "omg_TestVideos_WithoutLabels.csv"


def row(video="v", utterance="utterance_1.mp4", arousal="0.25", valence="-1"):
    return f"http://x,0,8.5,{video},{utterance},{arousal},{valence},4\n"


def write(folder, text, name=LABELLED):
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_rows_become_clips_in_order(tmp_path):
    write(
        tmp_path,
        HEADER
        + row(utterance="utterance_7.mp4", arousal="1", valence="1.0")
        + row(video="a", utterance="utterance_4.mp4", arousal="0"),
    )
    first, second = omg.read(str(tmp_path))
    assert first.key == "v/utterance_7.mp4"
    assert first.path == tmp_path / "v" / "utterance_7.mp4"
    assert (first.split, first.arousal, first.valence) == ("train", 1.0, 1.0)
    assert (second.key, second.arousal, second.valence) == (
        "a/utterance_4.mp4",
        0.0,
        -1.0,
    )


def test_columns_are_found_by_name(tmp_path):
    write(
        tmp_path,
        "valence, arousal ,utterance,video,end,start,link\n"
        "-0.5,0.75,u.mp4,v,8,0,x\n",
    )
    (clip,) = omg.read(tmp_path)
    assert (clip.arousal, clip.valence, clip.key) == (0.75, -0.5, "v/u.mp4")


def test_published_oddities_are_read(tmp_path):
    # A trailing space in a key, Windows' line ends and byte order mark.
    text = HEADER + row(utterance='"utterance_1.mp4 "') + "\n"
    (tmp_path / LABELLED).write_bytes(
        b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()
    )
    (clip,) = omg.read(tmp_path)
    assert clip.path == tmp_path / "v" / "utterance_1.mp4"


def test_splits_come_from_the_tables(tmp_path):
    write(tmp_path, HEADER + row(video="a"), "omg_ValidationVideos.csv")
    write(tmp_path, HEADER + row(video="b"), LABELLED)
    # The same video in another split is another clip.
    short = "link,start,end,video,utterance\nx,0,8,a,utterance_1.mp4\n"
    write(tmp_path, short, BARE)
    clips = omg.read(tmp_path)
    assert [(clip.split, clip.video) for clip in clips] == [
        ("train", "b"),
        ("validation", "a"),
        ("test", "a"),
    ]
    assert clips[2].valence is None and clips[2].arousal is None
    # With its labels there, the bare table is not needed.
    write(tmp_path, HEADER + row("c"), "omg_TestVideos_WithLabels.csv")
    assert [clip.video for clip in omg.read(tmp_path)] == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            HEADER.replace("arousal,", ""),
            "lacks arousal; .* must be link, .*valence: the table is left ou",
        ),
        ("", "lacks link, start, end, video, utterance, arousal, "),
        (HEADER + row(arousal="1.01"), r"line 2: arousal '1.01' .*\[0, 1\]"),
        (HEADER + row(arousal="-0.1"), r"arousal '-0.1' must be a number"),
        (HEADER + row() + row("w", valence="-5"), r"line 3: valence '-5' .*-1"),
        (HEADER + row(valence="nan"), "valence 'nan' must be a number"),
        (HEADER + row(valence=""), "valence '' must be a number"),
        (HEADER + "x,0,1,v,u.mp4\n", "line 2: arousal None must be a number"),
        (HEADER + row() + row("w") + row(), "line 4: .* stands in line 2 alr"),
        (HEADER + row(arousal="0,01"), "line 2: .* more cells than columns"),
        (
            HEADER + '"l,0,1,v,u\n' + row() + 'l",0,1,v,u,0.1,0.1,4\n',
            "line 4: a quotation mark makes 3 lines one row",
        ),
        (HEADER + row(video="../up"), "video '../up' must be a plain"),
        (HEADER + row(video=".."), "video '..' must be a plain"),
        (HEADER + row(utterance=" "), "utterance '' must be a plain"),
        (HEADER, "holds no rows of OMG-Emotion"),
    ],
)
def test_bad_tables_are_told_in_a_line(tmp_path, text, message):
    write(tmp_path, text)
    with pytest.raises(UserError, match=message) as raised:
        omg.read(tmp_path)
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_a_quotation_mark_takes_is_counted(tmp_path):
    write(tmp_path, HEADER + '"l,0,1,v,u\n' + row() + row("w") + 'l",0,1\n')
    write(tmp_path, HEADER + row("x"), "omg_ValidationVideos.csv")
    problems = Problems()
    assert [clip.video for clip in omg.read(tmp_path, problems)] == ["x"]
    assert problems.left_out["train"] == 4


def test_a_table_in_another_encoding_is_named(tmp_path):
    (tmp_path / LABELLED).write_bytes(
        HEADER.encode() + row(video="é").encode("latin-1")
    )
    with pytest.raises(UserError, match="is not a CSV table in UTF-8"):
        omg.read(tmp_path)


def test_missing_and_empty_sources_are_named(tmp_path):
    with pytest.raises(UserError, match="--source=.*nowhere is not a folder"):
        omg.read(tmp_path / "nowhere")
    with pytest.raises(UserError, match="at least one of omg_TrainVideos.csv"):
        omg.read(tmp_path)
