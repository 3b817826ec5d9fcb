"""Options of export: the flags of affwild_omg.export."""

import dataclasses

from affwild_omg.cli import options
from affwild_omg.cli.options import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportOptions(options.Checked):
    """Which model is exported, and where to."""

    model: str = option("Workdir or .keras file.", exists=True)
    output: str = option("Folder for the SavedModel.")
