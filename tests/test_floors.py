"""Imports go down only: what stands on which floor, and who may see what."""

import ast
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
DOORWAYS = {
    "train",
    "evaluate",
    "fuse",
    "compare",
    "export",
    "prepare",
    "predict",
    "demo",
    "reproduce",
    "reporting",
    "importers.tf1",
}
FLOORS = [
    {"", "errors"},
    {"architectures", "progress", "outputs", "pages", "wording", "workers"},
    {"experiments", "stages", "scoring", "faces", "corpora", "nets"},
    {"data", "drawing", "frame_tables", "model_files"},
    {"protocol", "chosen_steps", "results", "importers"},
    {"transfer", "training_options", "matching"},
    {
        "preparing",
        "training",
        "evaluation",
        "submission",
        "fusing",
        "comparing",
        "exporting",
        "predicting",
        "run_report",
        "tabulating",
    },
    {"reproducing"},
    {"cli"},
    DOORWAYS,
]
FLOOR = {name: i for i, names in enumerate(FLOORS) for name in names}

# What is heavy or peculiar is imported only in its rooms.
PECULIAR = {
    "dlib": {"faces"},
    "mtcnn": {"faces"},
    # preparing tells its workers' OpenCV to keep to one thread.
    "cv2": {"faces", "corpora.demo*", "preparing"},
    "matplotlib": {"drawing", "corpora.demo*"},
    "h5py": {"importers"},
    "scipy": {"importers", "scoring.significance"},
    "absl.flags": {"cli"} | DOORWAYS,
}
NETS_MAY = {"keras", "numpy"}


def imports(text: str, package: str) -> set[str]:
    """Lists what a module imports, at its top or later, by full name.

    `from a import b` counts as "a.b": b may be a module of its own.
    """
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: -node.level + 1 or None]
                base = ".".join([*parents, base]).rstrip(".")
            found.update(f"{base}.{alias.name}" for alias in node.names)
    return found


def modules():
    """Yields (name below the package, imports) of each module."""
    package = ROOT / "affwild_omg"
    for path in [*package.rglob("*.py"), *ROOT.glob("*.py")]:
        if path.stem == "setup":
            continue
        inside = path.is_relative_to(package)
        parts = path.relative_to(package if inside else ROOT).with_suffix("")
        name = ".".join(parts.parts).removesuffix("__init__").rstrip(".")
        folder = ".".join(["affwild_omg", *parts.parts[:-1]])
        yield name, imports(path.read_text(encoding="utf-8"), folder)


MODULES = dict(modules())


def room(name):
    """Returns the room of a module named below the package.

    A doorway belongs to none, wherever its file lies.
    """
    return name if name in DOORWAYS else name.split(".")[0]


def ours(imported):
    """Returns which room of the package is imported; None for others."""
    package, *below = imported.split(".")
    if package != "affwild_omg":
        return None
    return below[0] if below and below[0] in FLOOR else ""


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_down_only(name):
    assert room(name) in FLOOR, f"give {name} a floor"
    for imported in MODULES[name]:
        target = ours(imported)
        if target not in (None, room(name)):
            assert FLOOR[target] < FLOOR[room(name)], (
                f"{name} imports {imported}"
            )


@pytest.mark.parametrize("name", MODULES)
def test_peculiar_packages_stay_in_their_rooms(name):
    for imported in MODULES[name]:
        for package, rooms in PECULIAR.items():
            if f"{imported}.".startswith(f"{package}."):
                assert any(
                    pathlib.PurePath(name).match(allowed)
                    or room(name) == allowed
                    for allowed in rooms
                ), f"{name} imports {imported}"


@pytest.mark.parametrize("name", [n for n in MODULES if room(n) == "nets"])
def test_nets_speak_keras_alone(name):
    for imported in MODULES[name]:
        allowed = NETS_MAY | sys.stdlib_module_names | {"affwild_omg"}
        assert room(imported) in allowed, f"{name} imports {imported}"


def test_every_way_to_import_is_seen():
    text = (
        "import a.b as c\nfrom d import e\n"
        "def f():\n    from ..g import h\n    from . import i\n"
    )
    assert imports(text, "p.q") == {"a.b", "d.e", "p.g.h", "p.q.i"}
    assert "affwild_omg.data.records" in MODULES["preparing"]
    assert "cv2" in MODULES["preparing"]  # inside a function
