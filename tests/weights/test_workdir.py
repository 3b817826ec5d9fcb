"""A workdir's history is read where it is whole, and nothing else is."""

import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.weights import workdir as workdirs


def test_a_workdir_without_a_training_has_no_history(tmp_path):
    assert workdirs.read_history(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"options": {}}'])
def test_a_damaged_history_is_named(tmp_path, text):
    (tmp_path / "history.json").write_text(text)
    with pytest.raises(UserError, match="history.json is damaged"):
        workdirs.read_history(tmp_path)


def test_only_what_a_training_wrote_is_removed(tmp_path):
    own = ["best.keras", "last.keras", "history.json", "postprocessing.json"]
    own += ["flags.cfg", "initialisation.json"]
    events = tmp_path / "tensorboard"
    events.mkdir()
    (tmp_path / "checkpoints").mkdir()
    own += [f"checkpoints/{x}_000000002.keras" for x in ("step", "best")]
    for name in [*own, "notes.txt", "tensorboard/events.out.tfevents.1.a"]:
        (tmp_path / name).touch()
    workdirs.clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
