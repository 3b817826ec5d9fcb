import importlib
import pathlib

import pytest
from absl import flags


@pytest.fixture
def demo():
    """The module, without its flags: other tests open it as a command."""
    before = set(flags.FLAGS)
    module = importlib.import_module("affwild_omg.demo")
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)
    return module


def test_each_stage_reads_what_an_earlier_one_wrote(demo, tf):
    stages = demo.list_stages(pathlib.Path("folder"))
    assert len({stage.name for stage in stages}) == len(stages)
    written = []
    for stage in stages:
        for path in map(pathlib.Path, stage.inputs):
            assert any(path.is_relative_to(folder) for folder in written)
        written += stage.outputs


def test_the_video_is_the_longest_of_the_test_split(demo):
    from affwild_omg.synthetic import plan

    lengths = {
        (video.video, utterance.utterance): utterance.end - utterance.start
        for video in plan.plan_corpus()
        if video.split == "test"
        for utterance in video.utterances
    }
    longest = max(lengths.values())
    assert lengths[demo._longest_test_clip()] == pytest.approx(longest)
