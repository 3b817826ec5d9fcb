"""Options of reproduction and of tables."""

import dataclasses
import pathlib
from collections.abc import Sequence

from affwild_omg.cli import options
from affwild_omg.cli.errors import UserError
from affwild_omg.cli.options import option
from affwild_omg.nets import architectures
from affwild_omg.published import networks, tables
from affwild_omg.published.tables import Row
from affwild_omg.training.options import OVERRIDES, TrainingOptions

# Options of train.py that this command sets, and those that a row does.
SETTLED = {"records", "workdir", "init_from", "init_strict", "seed"}
SETTLED |= {"architecture", "members", "backbone", "taps", "recurrence"}
SETTLED |= {"landmarks", "targets", "shuffle_labels"}
PARSE = {  # of texts
    str: str,
    int: int,
    float: float,
    bool: ("false", "true").index,
    list: lambda text: tuple(text.split("/")),
}
A_NUMBER = {int: "a whole number", float: "a number", bool: "true or false"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableOptions(options.Checked):
    """Which table is laid out: flags of affwild_omg.reporting."""

    table: str = option(
        "Table of the paper, 3 to 8, or comparison in its text, to lay beside "
        "--runs.",
        choices=tuple(tables.TABLES),
    )
    runs: str = option(
        "Folder that affwild_omg.reproduce wrote, for --table.", exists=True
    )
    output: str = option("Folder for the table or the report.")

    def __post_init__(self):
        super().__post_init__()
        if not pathlib.Path(self.runs).is_dir():
            raise UserError(
                f"--runs={self.runs} is not a folder; give one that python -m "
                "affwild_omg.reproduce wrote"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReproductionOptions(options.Checked):
    """What is reproduced, and of what: the flags of affwild_omg.reproduce."""

    table: str = option(
        "Table of the paper, 3 to 8, or comparison in its text.",
        choices=tuple(tables.TABLES),
    )
    records: str = option("Prepared records of OMG-Emotion.", exists=True)
    output: str = option("Folder for the runs, <run>/seed_<n>, and the table.")
    affwild_records: str | None = option(
        "Prepared records of Aff-Wild, to pre-train on (default: none).",
        None,
        exists=True,
    )
    affwild2_records: str | None = option(
        "Prepared records of Aff-Wild2, to pre-train on; most rows are not run "
        "without them (default: none).",
        None,
        exists=True,
    )
    weights: Sequence[str] | None = option(
        "Weights to start from before any pre-training, by the rows' "
        "backbones: vgg_face=FILE,resnet50=FILE,densenet121=FILE (default: "
        "random).",
        None,
    )
    pretraining: str = option(
        "Pre-train as the paper did, or train every row on --records alone.",
        "paper",
        choices=("paper", "none"),
    )
    strategy: str = option(
        "How CNN-RNNs are trained: all layers at a learning rate of 1e-4, or "
        "of 1e-5 (slow), or, after pre-training so, the CNN fixed at 1e-3. "
        "CNNs alone are trained at 1e-4.",
        tables.STRATEGY,
        choices=tuple(tables.STRATEGIES),
    )
    seeds: Sequence[str] | None = option(
        "Seeds, separated by commas, a run each (default: 0).", None
    )
    rows: Sequence[str] | None = option(
        "Keys of the rows to run, such as pool2_pool5_fc (default: all).", None
    )
    options: Sequence[str] | None = option(
        "Options of train.py instead of the paper's, such as "
        "width=0.0625,units=32,epochs=8; values of a list are separated by / "
        "(default: the paper's).",
        None,
    )
    pretrain_options: Sequence[str] | None = option(
        "The same for pre-training alone, where they replace those of "
        "--options, such as epochs=5,learning_rate=1e-5,loss_level=frame "
        "(default: those of --options).",
        None,
    )
    folds_by: str = option(
        "What no two folds of a cross-validation share.",
        "video",
        choices=("video", "source", "person"),
    )

    def __post_init__(self):
        super().__post_init__()
        self.seed_numbers()
        self.selected()
        self._refuse_what_changes_nothing()
        compared = {x for row in self.selected() for x in row.compares}
        for flag, given in (
            ("options", self.overrides()),
            ("pretrain_options", self.pretrain_overrides()),
        ):
            for name in sorted(compared & given.keys()):
                raise UserError(
                    f"--{flag}={name} is what a row of --table={self.table} "
                    "compares; leave it out"
                )

    def _refuse_what_changes_nothing(self):
        rows = [part for x in self.selected() for part in x.fused or [x]]
        backbones = {backbone_of(row) for row in rows}
        for backbone in self.initial_weights():
            if backbone not in backbones:
                raise UserError(
                    f"--weights={backbone}=FILE changes nothing, because the "
                    f"rows start from {', '.join(sorted(backbones))}; leave it "
                    "out"
                )
        scratch = all(row.pretraining == tables.SCRATCH for row in rows)
        if self.pretrain_overrides() and (
            scratch or self.pretraining == "none"
        ):
            raise UserError(
                "--pretrain_options changes nothing, because no row is "
                "pre-trained; leave it out"
            )
        if self.folds_by != "video" and all(row.fold is None for row in rows):
            raise UserError(
                f"--folds_by={self.folds_by} changes nothing, because no row "
                "is a cross-validation; leave it out"
            )

    def seed_numbers(self) -> list[int]:
        """Returns the seeds.

        Raises:
            UserError: one is not a whole number from 0 on.
        """
        seeds = list(self.seeds or ["0"])
        if not all(str(seed).isdecimal() for seed in seeds):
            raise UserError(
                "--seeds must be whole numbers from 0 on, separated by "
                f"commas, not {', '.join(map(repr, seeds))}"
            )
        return sorted(set(map(int, seeds)))

    def selected(self) -> list[Row]:
        """Returns the rows of the table that are to be run.

        Raises:
            UserError: the table has no such row, or it is another system.
        """
        rows = {x.key: x for x in tables.TABLES[self.table].rows if x.folder}
        for key in self.rows or ():
            if key not in rows:
                raise UserError(
                    f"--rows must be of --table={self.table}: "
                    f"{', '.join(rows)}, not {key!r}"
                )
        return [x for x in rows.values() if not self.rows or x.key in self.rows]

    def initial_weights(self) -> dict[str, str]:
        """Returns {backbone: file}.

        Raises:
            UserError: a text is not like backbone=file, a backbone is unknown
                or given twice, or the file does not exist.
        """
        files = options.pairs("weights", self.weights)
        for backbone, file in files.items():
            if backbone not in architectures.BACKBONES:
                raise UserError(
                    "--weights must be like vgg_face=FILE, with a backbone "
                    f"out of {', '.join(architectures.BACKBONES)}, not "
                    f"{backbone!r}"
                )
            if not pathlib.Path(file).exists():
                raise UserError(f"--weights={backbone}={file} does not exist")
        return files

    def overrides(self) -> dict[str, object]:
        """Returns options of train.py by name, of their types.

        Raises:
            UserError: a text is not like name=value, a name is unknown, given
                twice or a row's own, or a value is of another type.
        """
        # Of OMG-Emotion, whose validation split the paper chooses by.
        return _parsed("options", self.options, SETTLED | {"holdout"})

    def pretrain_overrides(self) -> dict[str, object]:
        """Returns those of pre-training alone, likewise.

        Raises:
            UserError: as `overrides`; or one would make another network, which
                could not go on with what it has learned.
        """
        settled = SETTLED | set(OVERRIDES)
        return _parsed("pretrain_options", self.pretrain_options, settled)


def backbone_of(row: Row) -> str:
    """Returns the backbone of a row that fuses nothing by decision."""
    network = networks.named(row.network, **row.overrides)
    if isinstance(network, architectures.Fusion):  # members share one
        network, *_ = network.members
    return network.backbone


def _parsed(flag, texts, settled):
    kinds = {
        field.name: options.kind_of(field)
        for field in dataclasses.fields(TrainingOptions)
        if field.name not in settled
    }
    found = {}
    for name, text in options.pairs(flag, texts).items():
        if name not in kinds:
            raise UserError(
                f"--{flag}={name} cannot be set here; the options of train.py "
                f"that can be are {', '.join(kinds)}"
            )
        try:
            found[name] = PARSE[kinds[name]](text)
        except ValueError as error:
            raise UserError(
                f"--{flag}={name} must be {A_NUMBER[kinds[name]]}, not {text!r}"
            ) from error
        if kinds[name] is bool:
            found[name] = bool(found[name])
    return found
