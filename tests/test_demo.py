import importlib

import pytest
from absl import flags


@pytest.fixture
def demo():
    """The module, without its flags: other tests open it as a doorway."""
    before = set(flags.FLAGS)
    module = importlib.import_module("affwild_omg.demo")
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)
    return module


def test_the_video_is_the_longest_of_the_test_split(demo, tf):
    from affwild_omg.synthetic import corpus as corpus

    clip = demo._longest_test_clip(corpus, "folder")
    frames = {
        (video.video, utterance.utterance): utterance.frames
        for video in corpus.plan_corpus(corpus.DemoOptions())
        if video.split == "test"
        for utterance in video.utterances
    }
    assert frames[clip.parts[-2:]] == max(frames.values())
