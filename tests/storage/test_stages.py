import dataclasses
import json
import pathlib

import pytest

from affwild_omg.storage.stages import FILE, Stages, command_line


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    source: str
    output: str
    epochs: int = 50
    parts: tuple[str, ...] = ()
    landmarks: bool | None = None


def test_the_command_that_does_the_same():
    options = Options(
        source="my records", output="w", parts=("a", "b"), landmarks=False
    )
    assert command_line("python train.py", options) == (
        "python train.py '--source=my records' --output=w --parts=a,b "
        "--landmarks=false"
    )


class Chain:
    """A source outside, "one" built from it, "two" from "one", "apart"."""

    def __init__(self, folder, source):
        self.folder, self.source = folder, source
        self.ran, self.interrupted = [], False

    def stage(self, name, epochs=50):
        sources = {"two": self.folder / "one", "one": self.source}
        source = sources.get(name, pathlib.Path("s"))
        return {
            "name": name,
            "options": Options(
                source=str(source),
                output=str(self.folder / name),
                epochs=epochs,
                parts=("a", "b"),
            ),
            "inputs": [source / "data"] if name in sources else [],
        }

    def run(self, *names, epochs=50, **more):
        """Runs stages; returns which of them were not done."""
        self.ran = []
        for name in names:
            self.known().run(
                **self.stage(name, epochs),
                function=self.write,
                command="python",
                outputs=[self.folder / name / "data"],
                **more,
            )
        return self.ran

    def write(self, options, *, overwrite):
        if self.interrupted:
            raise KeyboardInterrupt
        output = pathlib.Path(options.output)
        self.ran.append(output.name)
        output.mkdir(exist_ok=True)
        (output / "data").write_text(f"{options.epochs}, {options.parts}")

    def known(self):
        return Stages(self.folder / FILE)


@pytest.fixture
def chain(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "data").write_text("source")
    (tmp_path / "all").mkdir()
    return Chain(tmp_path / "all", tmp_path / "source")


@pytest.fixture
def names(chain):
    names = "one", "two", "apart"
    assert chain.run(*names) == [*names]
    assert chain.run(*names) == []
    return names


@pytest.mark.parametrize("text", [None, "", "another"])
def test_a_stage_runs_again_if_its_output_is_not_what_it_wrote(
    chain, names, text
):
    def damage(name):
        path = chain.folder / name / "data"
        path.unlink() if text is None else path.write_text(text)

    damage("two")
    assert chain.run(*names, resume=chain.ran.append) == ["two"]
    # The same output again: what was built from it is still right.
    damage("one")
    assert chain.run(*names) == ["one"]


def test_a_stage_that_does_not_write_its_output_is_never_done(chain):
    stage = chain.stage("one") | {"outputs": [chain.folder / "never"]}
    chain.known().run(**stage, function=chain.write, command=None)
    del stage["outputs"]
    assert not chain.known().is_done(**stage)


def test_other_options_run_a_stage_and_what_is_built_from_it(chain, names):
    assert chain.run("one", epochs=5) == ["one"]  # and the call ends there
    assert chain.run("two", "apart") == ["two"]
    known = json.loads((chain.folder / FILE).read_text())
    assert known["one"]["options"] == {
        "source": "input 0",
        "output": "one",
        "epochs": 5,
        "parts": ["a", "b"],
        "landmarks": None,
    }


def test_inputs_count_by_their_contents_wherever_all_lies(chain, names):
    chain.source = chain.source.rename(chain.source.with_name("moved"))
    chain.folder = chain.folder.rename(chain.folder.with_name("moved all"))
    assert chain.run(*names) == []
    (chain.source / "data").write_text("new")
    assert chain.run(*names) == ["one"]


def test_a_folder_as_input_counts_by_all_of_its_files(chain):
    whole = {
        "name": "whole",
        "options": Options(source="", output="x"),
        "inputs": [chain.source],
    }
    chain.known().run(**whole, function=lambda *_, **__: None, command="")
    assert chain.known().is_same(**whole)
    (chain.source / "data").rename(chain.source / "other")
    assert not chain.known().is_same(**whole)


def test_an_output_that_has_served_may_be_removed(chain, names):
    (chain.folder / "one" / "data").unlink()
    two = chain.stage("two")
    assert chain.known().is_done(**two)
    assert chain.run("two") == []
    (chain.folder / "two" / "data").unlink()
    assert not chain.known().is_done(**two)
    assert chain.known().is_same(**two)


def test_a_stage_is_current_while_its_inputs_are_those_it_used(chain, names):
    def current():
        return [chain.known().is_current(name) for name in (*names, "unknown")]

    assert current() == [True, True, True, False]
    (chain.source / "data").rename(chain.source / "moved")  # outside
    (chain.folder / "one" / "data").unlink()  # has served
    assert current() == [True, True, True, False]
    (chain.source / "moved").rename(chain.source / "data")
    chain.run("one", epochs=5)
    assert current() == [True, False, True, False]
    chain.interrupted = True
    with pytest.raises(KeyboardInterrupt):
        chain.run("one")
    assert current() == [False, False, True, False]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "resumed"),
        ({"epochs": 9}, "one"),
        ({"source": "changed"}, "one"),
        ({"resume": None}, "one"),
    ],
)
def test_what_was_interrupted_is_resumed_if_it_is_the_same(
    chain, change, expected
):
    chain.interrupted = True
    with pytest.raises(KeyboardInterrupt):
        chain.run("one")
    chain.interrupted = False
    change = {"resume": lambda options: chain.ran.append("resumed")} | change
    if "source" in change:
        (chain.source / "data").write_text(change.pop("source"))
    assert chain.run("one", **change) == [expected]


@pytest.mark.parametrize("text", ["", "[]", '{"one": {"options": {}}}'])
def test_a_damaged_file_says_that_nothing_is_done(chain, text):
    (chain.folder / FILE).write_text(text)
    assert chain.run("one") == ["one"]
