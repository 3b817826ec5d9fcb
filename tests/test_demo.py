import dataclasses
import importlib
import pathlib
import types

import pytest
from absl import flags

from affwild_omg.storage.stages import FILE, Stages


@pytest.fixture
def demo():
    """The module, without its flags: other tests open it as a command."""
    before = set(flags.FLAGS)
    module = importlib.import_module("affwild_omg.demo")
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)
    return module


@pytest.mark.parametrize("chain", [False, True])
def test_each_stage_reads_what_an_earlier_one_wrote(demo, tf, chain):
    stages = demo.list_stages(pathlib.Path("folder"), chain=chain)
    assert len({stage.name for stage in stages}) == len(stages)
    written = []
    for stage in stages:
        for path in map(pathlib.Path, stage.inputs):
            assert any(path.is_relative_to(folder) for folder in written)
        written += stage.outputs


def test_the_chain_compares_nothing_but_the_start(demo, tf):
    folder = pathlib.Path("folder")
    stages = {x.name: x for x in demo.list_stages(folder, chain=True)}
    for seed in (0, 1, 2):
        place = f"chain/seed_{seed}"
        before, after, scratch = (
            dataclasses.asdict(stages[f"{place}/{name}"].options)
            for name in ("pretrained", "fine_tuned", "scratch")
        )
        assert before["records"] == "folder/affwild2_records"
        assert after["records"] == "folder/records"
        assert after.pop("init_from") == before["workdir"]
        assert scratch.pop("init_from") is None
        assert after.pop("workdir") != scratch.pop("workdir")
        assert after == scratch
        assert after["seed"] == before["seed"] == seed
    # The demo's own corpus and records are the chain's, too.
    for own in demo.list_stages(folder)[:2]:
        assert stages[own.name].options == own.options


def test_the_chain_shows_means_and_spreads(demo, tf, monkeypatch):
    from affwild_omg.evaluation import results

    def read(folder, flag):
        seed = int(folder.parent.name[-1])
        start = 0.6 if folder.name.startswith("fine_tuned") else 0.3
        value = start + 0.1 * seed * folder.name.endswith("test")
        scores = types.SimpleNamespace(cccs={"mean": value, "valence": 0.9})
        return types.SimpleNamespace(scores=lambda: scores)

    monkeypatch.setattr(results, "read", read)
    _, _, *rows = demo._compare(pathlib.Path("folder"), 1.0)
    # 0.6, 0.7 and 0.8 deviate from 0.7 by 0.1, with 1 / (N - 1).
    assert rows[0].split() == [
        "pre-trained",
        "0.600",
        "0.000",
        "0.700",
        "0.100",
    ]
    assert rows[1].split()[1:] == [
        "weights",
        "0.300",
        "0.000",
        "0.400",
        "0.100",
    ]


def test_a_broken_folder_is_repaired(demo, tf, tmp_path):
    ran = []

    def write(files):
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(str(file))

    def run(stage):
        paths = map(pathlib.Path, stage.outputs)
        files = [path if path.suffix else path / "file" for path in paths]

        def function(options, *, overwrite):
            ran.append(stage.name)
            write(files)

        Stages(tmp_path / FILE).run(
            **stage._replace(function=function)._asdict()
        )
        return files

    stages = demo.list_stages(tmp_path)
    files = [run(stage) for stage in stages]
    names = [stage.name for stage in stages]
    assert ran == names
    for name, (file, *_) in zip(names, files, strict=True):
        file.write_text("")
        ran.clear()
        for stage in stages:
            run(stage)
        assert ran == [name]
