import dataclasses
import importlib
import json

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


@pytest.fixture
def options(tf):
    from affwild_omg import training

    return training.Options(records="r", workdir="w", epochs=3, seed=0)


def test_stages_show_the_command_that_does_the_same(demo, options):
    line = demo._command_line("python train.py", options)
    assert line == "python train.py --records=r --workdir=w --epochs=3"


def test_a_stage_is_run_again_only_where_it_must_be(demo, options, tmp_path):
    products = {name: tmp_path / name for name in ("one", "two", "apart")}
    ran = []

    def stage(options, overwrite):
        ran.append(options.seed)
        for product in products.values():
            product.touch()

    def run(*names, settings=options):
        ran.clear()
        stages = demo._Stages(tmp_path / "stages.json")
        for name in names:
            needs = {"two": "one"}.get(name)
            stages.run(
                name,
                stage,
                settings,
                "python",
                whole=products[name].is_file,
                needs=needs,
            )
        return len(ran)

    assert run("one", "two", "apart") == 3
    assert run("one", "two", "apart") == 0
    products["one"].unlink()  # made again, with what needs it and no more
    assert run("one", "two", "apart") == 2
    products["two"].unlink()
    assert run("one", "two", "apart") == 1
    other = dataclasses.replace(options, seed=5)
    assert run("one", "two", settings=other) == 2
    done = json.loads((tmp_path / "stages.json").read_text())
    assert done["two"]["seed"] == 5


def test_the_video_is_the_longest_of_the_test_split(demo, tf):
    from affwild_omg.corpora import demo as corpus

    clip = demo._longest_test_clip(corpus, "folder")
    frames = {
        (video.video, utterance.utterance): utterance.frames
        for video in corpus.plan_corpus(corpus.DemoOptions())
        if video.split == "test"
        for utterance in video.utterances
    }
    assert frames[clip.parts[-2:]] == max(frames.values())
