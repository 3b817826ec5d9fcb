"""The plan of the house: what stands on which floor, and who may see whom."""

import ast
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Rooms, from the ground up; a room may import what lies below it. Files of
# one room may see each other; rooms of one floor may not. The top floor has
# the commands: the files at the top of the package.
FLOORS = [
    {"cli"},
    {"storage", "paper"},
    {"scoring", "faces", "figures", "corpora", "nets"},
    {"published", "data", "synthetic"},
    {"preparation", "weights"},
    {"inference"},
    {"evaluation", "serving"},
    {"training"},
    {"experiments", "reports"},
]
FLOOR = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}
TOP = len(FLOORS)
# The command's older name, which runs it.
ALIAS = "importers"

# What is heavy or peculiar, and the rooms that may import it.
PECULIAR = {
    "dlib": {"faces"},
    "mtcnn": {"faces"},
    "av": {"faces"},
    "cv2": {"faces", "synthetic", "preparation"},
    "matplotlib": {"figures", "synthetic"},
    "h5py": {"weights"},
    "tensorflow": {
        *("faces", "data", "preparation", "weights", "inference"),
        *("evaluation", "serving", "storage", "training"),
    },
    "tensorflow_io": {"storage"},
    "jinja2": {"reports"},
    "fastapi": {"serving"},
    "prometheus_client": {"serving"},
    "uvicorn": {"serving"},
    "ray": {"serving", "preparation"},
    "onnx": {"serving"},
    "tf2onnx": {"serving"},
    "onnxruntime": {"inference", "serving"},
    "openvino": {"inference"},
    "ai_edge_litert": {"inference"},
    "absl.flags": {"cli", "commands"},
}


def imports(text: str) -> set[str]:
    """Lists what a module imports, at its top or later, by full name.

    `from a import b` counts as "a.b": b may be a module of its own.
    """
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            found.update(f"{base}.{alias.name}" for alias in node.names)
    return found


def modules():
    """Yields (path below the root, room, imports) of each module."""
    scripts = (ROOT / f"{name}.py" for name in ("train", "evaluate", "export"))
    for path in [*sorted((ROOT / "affwild_omg").rglob("*.py")), *scripts]:
        parts = path.relative_to(ROOT).parts
        room = parts[1] if len(parts) > 2 else "commands"
        yield "/".join(parts), room, imports(path.read_text(encoding="utf-8"))


MODULES = list(modules())


def test_every_room_has_a_floor():
    rooms = {room for _, room, _ in MODULES} - {"commands", ALIAS}
    assert rooms <= FLOOR.keys()


def test_every_file_at_the_top_is_a_command():
    assert [
        path.name
        for path in (ROOT / "affwild_omg").glob("*.py")
        if path.name != "__init__.py"
        and "\ndef main(" not in path.read_text(encoding="utf-8")
    ] == []


def test_imports_are_absolute():
    assert [
        f"{path} imports {name}"
        for path, _, imported in MODULES
        for name in imported
        if name.startswith(".")
    ] == []


def test_imports_go_down_only():
    def floor(room):
        return FLOOR.get(room, TOP)

    violations = []
    for path, room, imported in MODULES:
        for name in imported:
            package, *below = name.split(".")
            if package != "affwild_omg" or not below or room == ALIAS:
                continue
            target = below[0] if below[0] in FLOOR else "commands"
            if below[0] == "__version__" or target == room != "commands":
                continue
            # The scripts at the root call the commands.
            if room == target == "commands" and "/" not in path:
                continue
            if floor(target) >= floor(room):
                violations.append(f"{path} imports {name}")
    assert violations == []


def test_peculiar_packages_stay_in_their_rooms():
    assert [
        f"{path} imports {name}"
        for path, room, imported in MODULES
        for name in imported
        for package, rooms in PECULIAR.items()
        if f"{name}.".startswith(f"{package}.") and room not in rooms
    ] == []


def test_nets_speak_keras_alone():
    allowed = {"keras", "numpy", "affwild_omg"} | sys.stdlib_module_names
    assert [
        f"{path} imports {name}"
        for path, room, imported in MODULES
        for name in imported
        if room == "nets" and name.split(".")[0] not in allowed
    ] == []


def test_every_way_to_import_is_seen():
    text = (
        "import a.b as c\nfrom d import e\n"
        "def f():\n    from ..g import h\n    from . import i\n"
    )
    assert imports(text) == {"a.b", "d.e", "..g.h", "..i"}
    seen = {path: imported for path, _, imported in MODULES}
    worker = seen["affwild_omg/preparation/worker.py"]
    assert "affwild_omg.data.records" in worker
    assert "cv2" in worker  # inside a function
