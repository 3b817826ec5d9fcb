import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.data import features, manifest, pipeline


def compute(images):
    """Means of each channel, and the number of the frame's brightest row."""
    means = images.mean(axis=(1, 2))
    rows = images.mean(axis=(2, 3)).argmax(axis=1)
    return {"means": means, "row": rows[:, np.newaxis]}


@pytest.fixture
def clips(small_records):
    return manifest.read(small_records).clips("train")


@pytest.fixture
def cache(tmp_path, clips):
    found = features.Cache(tmp_path, "key", {"means": 3, "row": 1})
    found.fill(clips, compute)
    return found


def test_windows_have_the_features_of_their_frames(cache, clips):
    settings = {"sequence_length": 4, "tail": "overlap"}
    plain = pipeline.windows(clips, **settings).as_numpy_iterator()
    cached = pipeline.windows(clips, **settings, features=cache)
    for one, two in zip(plain, cached.as_numpy_iterator(), strict=True):
        used = one["length"]
        wanted = compute(one.pop("frames"))
        for name, values in wanted.items():
            own = two.pop(name)
            assert own.dtype == np.float16
            np.testing.assert_array_equal(
                own[:used], values[:used].astype(np.float16)
            )
            assert not own[used:].any()
        assert one.keys() == two.keys()
        for name, values in one.items():
            np.testing.assert_array_equal(values, two[name])


def test_what_is_there_is_not_computed_again(cache, clips, tmp_path):
    made = sorted(tmp_path.rglob("*.npy"))
    assert len(made) == len(clips)
    made[1].write_bytes(made[1].read_bytes()[:-1])
    seen = []

    def count(images):
        seen.append(len(images))
        return compute(images)

    cache.fill(clips, count)
    assert sum(seen) == clips[1].frames
    assert sorted(tmp_path.rglob("*.npy")) == made


@pytest.mark.parametrize("change", ["cut", "other", "gone"])
def test_a_damaged_file_is_named(cache, clips, tmp_path, change):
    path = sorted(tmp_path.rglob("*.npy"))[0]
    if change == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif change == "other":
        np.save(path, np.zeros((2, 4), np.float16))
    else:
        path.unlink()
    with pytest.raises(UserError, match=f"{path} is gone, or another, since"):
        cache.read(clips[0], 0, 1)


def test_a_disk_that_is_too_small_is_told_first(
    clips, tmp_path, monkeypatch, caplog
):
    frames = sum(clip.frames for clip in clips)
    free = frames * 1_000_000 * 2 - 1
    usage = type("Usage", (), {"free": free})
    monkeypatch.setattr(features.shutil, "disk_usage", lambda path: usage)
    folder = tmp_path / "new"
    cache = features.Cache(folder, "key", {"wide": 1_000_000})
    with pytest.raises(UserError, match=f"need {2e-3 * frames:.3g} GB, and"):
        cache.fill(clips, compute)
    assert not folder.exists()


def test_features_beyond_float16_are_refused(clips, tmp_path):
    cache = features.Cache(tmp_path, "key", {"row": 1})
    with pytest.raises(UserError, match="ann/utterance_1.mp4 has features th"):
        cache.fill(clips, lambda x: {"row": np.full((len(x), 1), 65520.0)})
    assert not [x for x in tmp_path.rglob("*") if x.is_file()]
