"""Options of export: the flags of affwild_omg.export."""

import dataclasses

from affwild_omg.cli import options
from affwild_omg.cli.options import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportOptions(options.Checked):
    """Which model is exported, and where to."""

    model: str = option("Workdir or .keras file.", exists=True)
    output: str = option("Folder for the SavedModel.")
    version: int = option(
        "Number of a version: the SavedModel goes into a folder of that name "
        "in --output, as TensorFlow Serving looks for them; 0 for none.",
        0,
        least=0,
    )
    warmup: bool = option(
        "Adds the requests with which TensorFlow Serving warms a model up "
        "before it answers; needs pip install affwild_omg[serving].",
        False,
    )
