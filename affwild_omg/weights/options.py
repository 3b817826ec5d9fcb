"""Options of the import of checkpoints: the flags of affwild_omg.import_tf1."""

import dataclasses

from affwild_omg.cli import options
from affwild_omg.cli.errors import UserError
from affwild_omg.cli.options import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportOptions(options.Checked):
    """Which checkpoint is imported, and where to."""

    checkpoint: str = option(
        "Checkpoint: the path of its files without .index or "
        ".data-00000-of-00001."
    )
    output: str = option("File for the model, ending in .keras.")
    sequence_length: int = option(
        "Frames of the windows that it was trained on; the authors' are of 80.",
        80,
        least=1,
    )

    def __post_init__(self):
        super().__post_init__()
        if not self.output.endswith(".keras"):
            raise UserError(
                f"--output={self.output} must end in .keras, as model files do"
            )
