import dataclasses
import json

import pytest

from affwild_omg.storage import stages


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    records: str
    workdir: str
    epochs: int = 50
    parts: tuple[str, ...] = ()
    landmarks: bool | None = None
    init_from: str | None = None
    strict: bool = False


@pytest.fixture
def options(tmp_path):
    return Options(
        records="r", workdir=str(tmp_path / "w"), epochs=3, parts=("a", "b")
    )


def test_the_command_that_does_the_same():
    options = Options(
        records="my records",
        workdir="w",
        parts=("a", "b"),
        landmarks=False,
        strict=True,
    )
    assert stages.command_line("python train.py", options) == (
        "python train.py '--records=my records' --workdir=w --parts=a,b "
        "--landmarks=false --strict=true"
    )


class Chain:
    """Three stages, each made of the one before, and one apart."""

    of = {"two": "one", "three": "two"}

    def __init__(self, folder):
        self.folder = folder
        self.ran = []

    def run(self, *names, options, source="s"):
        """Runs some of the stages; returns which had to be."""
        self.ran = []
        known = stages.Stages(self.folder / stages.FILE)
        made = {}
        for name in names:
            made[name] = known.run(
                name,
                lambda options, overwrite, name=name: self._stage(name),
                options,
                "python",
                whole=stages.files(self.folder, name),
                of=[made[self.of[name]]] if name in self.of else [source],
            )
        return self.ran

    def _stage(self, name):
        self.ran.append(name)
        (self.folder / name).touch()


def test_a_stage_is_run_again_only_where_it_must_be(options, tmp_path):
    chain = Chain(tmp_path)
    names = ("one", "two", "apart")
    assert chain.run(*names, options=options) == ["one", "two", "apart"]
    assert chain.run(*names, options=options) == []
    (tmp_path / "one").unlink()  # made again, with what is made of it
    assert chain.run(*names, options=options) == ["one", "two"]
    (tmp_path / "two").unlink()
    assert chain.run(*names, options=options) == ["two"]
    other = dataclasses.replace(options, epochs=5)
    assert chain.run("one", "two", options=other) == ["one", "two"]
    known = json.loads((tmp_path / "stages.json").read_text())
    assert known["two"]["options"]["epochs"] == 5
    assert chain.run("apart", options=options, source="t") == ["apart"]


def test_what_was_made_again_is_known_to_a_later_call(options, tmp_path):
    # The first stage alone was made again, and the call ended there.
    chain = Chain(tmp_path)
    chain.run("one", "two", options=options)
    (tmp_path / "one").unlink()
    assert chain.run("one", options=options) == ["one"]
    assert chain.run("one", "two", options=options) == ["two"]


def test_what_was_made_of_something_that_is_no_more_is_not_made(
    options, tmp_path
):
    chain = Chain(tmp_path)
    names = ("one", "two", "three", "apart")
    chain.run(*names, options=options)

    def made():
        known = stages.Stages(tmp_path / stages.FILE)
        return [known.is_made(name) for name in (*names, "unknown")]

    assert made() == [True, True, True, True, False]
    known = stages.Stages(tmp_path / stages.FILE)
    assert known.is_made("two", of=[known.made("one")])
    assert not known.is_made("two", of=["older"])
    (tmp_path / "one").unlink()
    chain.run("one", options=options)
    assert made() == [True, False, False, True, False]


def test_sources_are_known_by_what_they_hold(options, tmp_path):
    def run(records, digest):
        ran = []
        stages.Stages(
            tmp_path / stages.FILE, {records: digest, "other": "o"}
        ).run(
            "train",
            lambda options, overwrite: ran.append(options),
            dataclasses.replace(options, records=records),
            "python",
            whole=lambda: True,
        )
        return len(ran)

    assert run("here", "same") == 1
    assert run("there", "same") == 0
    assert run("there", "new") == 1


def test_a_folder_may_be_moved_with_its_stages(options, tmp_path):
    before = tmp_path / "before"
    before.mkdir()
    options = dataclasses.replace(options, workdir=str(before / "w"))
    assert Chain(before).run("one", options=options) == ["one"]
    after = before.rename(tmp_path / "after")
    moved = dataclasses.replace(options, workdir=str(after / "w"))
    assert Chain(after).run("one", options=moved) == []
    elsewhere = dataclasses.replace(moved, records=str(tmp_path / "r"))
    assert Chain(after).run("one", options=elsewhere) == ["one"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ["begun", "resumed"]),
        ({"options": {"epochs": 9}}, ["begun", "begun"]),
        ({"of": ["other"]}, ["begun", "begun"]),
        ({"resume": None}, ["begun", "begun"]),
    ],
)
def test_what_was_begun_goes_on_if_it_is_the_same(
    options, tmp_path, change, expected
):
    calls = []

    def stage(options, overwrite):
        calls.append("begun")
        if len(calls) == 1:
            raise KeyboardInterrupt

    def run(options, **arguments):
        stages.Stages(tmp_path / "stages.json").run(
            "train",
            stage,
            options,
            "python",
            **{
                "whole": lambda: True,
                "of": ["records"],
                "resume": lambda options: calls.append("resumed"),
            }
            | arguments,
        )

    with pytest.raises(KeyboardInterrupt):
        run(options)
    change = dict(change)
    changed = dataclasses.replace(options, **change.pop("options", {}))
    run(changed, **change)
    assert calls == expected
    run(changed, **change)  # done now
    assert calls == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "no json",
        '{"one": {"epochs": 3}}',
        '{"one": 1}',
        '{"one": {"made": "x"}}',
        '{"one": {"options": {}, "of": null, "made": "x"}}',
        '{"one": {"options": {}, "of": [], "made": 5}}',
    ],
)
def test_a_file_that_says_nothing_known_is_none(options, tmp_path, text):
    (tmp_path / "stages.json").write_text(text)
    assert Chain(tmp_path).run("one", options=options) == ["one"]
