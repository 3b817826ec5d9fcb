import importlib
import pathlib

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


def test_each_stage_reads_what_an_earlier_one_wrote(demo, tf):
    stages = demo.list_stages(pathlib.Path("folder"))
    assert len({stage.name for stage in stages}) == len(stages)
    written = []
    for stage in stages:
        for path in map(pathlib.Path, stage.inputs):
            assert any(path.is_relative_to(folder) for folder in written)
        written += stage.outputs


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
