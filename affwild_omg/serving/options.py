"""Options of export: the flags of affwild_omg.export."""

import dataclasses
from collections.abc import Sequence

from affwild_omg.cli import options
from affwild_omg.cli.errors import UserError
from affwild_omg.cli.options import option

FORMATS = ("saved_model", "onnx", "litert")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportOptions(options.Checked):
    """Which model is exported, and where to."""

    model: str = option("Workdir or .keras file.", exists=True, address=True)
    output: str = option("Folder for what is exported.", address=True)
    format: Sequence[str] = option(
        "What is written, separated by commas: saved_model, onnx "
        "(sequence.onnx and step.onnx), litert (step.tflite).",
        ("saved_model",),
    )
    int8: str = option(
        "Folder that affwild_omg.prepare wrote, to calibrate files of eight "
        "bits by, which are written, too; none by default.",
        "",
        exists=True,
        address=True,
    )
    version: int = option(
        "Number of a version: all goes into a folder of that name in "
        "--output, as TensorFlow Serving looks for them; 0 for none.",
        0,
        least=0,
    )
    warmup: bool = option(
        "Adds the requests with which TensorFlow Serving warms a model up "
        "before it answers; needs pip install affwild_omg[serving].",
        False,
    )
    results: str = option(
        "Folder in which evaluate.py evaluated this model, for the model "
        "card; none by default.",
        "",
        exists=True,
        address=True,
    )

    def __post_init__(self):
        super().__post_init__()
        if not self.format or set(self.format) - set(FORMATS):
            raise UserError(
                f"--format must be some of {', '.join(FORMATS)}, separated by "
                f"commas, not {','.join(self.format)!r}"
            )
        if self.warmup and "saved_model" not in self.format:
            raise UserError(
                "--warmup is for TensorFlow Serving, which reads a SavedModel; "
                "add saved_model to --format, or leave --warmup out"
            )
        if self.int8 and not set(self.format) - {"saved_model"}:
            raise UserError(
                "--int8 has no effect on a SavedModel; add onnx or litert to "
                "--format, or leave --int8 out"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerOptions(options.Checked):
    """Which model is served, where, and how much a client may ask for."""

    model: str = option(
        "SavedModel, or a folder of its versions, of which the newest is "
        "served.",
        exists=True,
    )
    name: str = option(
        "Name of the model in the paths, without a slash.", "affwild_omg"
    )
    host: str = option(
        "Address to listen at; 0.0.0.0 for all of this machine.", "127.0.0.1"
    )
    port: int = option("Port; 0 takes a free one.", 8501, least=0, most=65535)
    queue: int = option(
        "Requests that may be open at a time; more are refused.", 16, least=1
    )
    body_mib: int = option("Largest body of a request, in MiB.", 32, least=1)
    most_frames: int = option(
        "Frames of a request, all sequences together.", 320, least=1
    )
    live: int = option(
        "Connections for live frames at a time; 0 for none, which spares the "
        "face detector.",
        4,
        least=0,
    )
    replicas: int = option(
        "Replicas of the model on a Ray cluster, each with limits of its own; "
        "0 serves from this process, without Ray.",
        0,
        least=0,
    )
    timeout_s: int = option(
        "Seconds in which the head of a request must come, its body, and its "
        "answer, each.",
        30,
        least=1,
    )

    def __post_init__(self):
        super().__post_init__()
        if not self.name or "/" in self.name:
            raise UserError(
                f"--name={self.name} must be a part of a path, such as "
                "affwild: not empty, and without a slash"
            )
        if not self.host:  # to the system, all addresses of the machine
            raise UserError(
                "--host is empty; give 127.0.0.1, or 0.0.0.0 for all addresses"
            )
