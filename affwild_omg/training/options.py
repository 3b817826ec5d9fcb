"""What a training run is made of: train.py's flags, checked."""

import dataclasses
import math
import pathlib
from collections.abc import Sequence

from affwild_omg.cli.errors import UserError
from affwild_omg.nets import architectures
from affwild_omg.nets.architectures import PARTS
from affwild_omg.published import networks

# Of a workdir; here, for who reads them needs no TensorFlow.
HISTORY = "history.json"
FLAGFILE = "flags.cfg"
# Options that replace fields of the named architecture.
OVERRIDES = tuple(
    field.name for field in dataclasses.fields(architectures.Architecture)
) + ("fusion_units",)
# What `Options.train` trains, in parts of the network.
TRAINED = {
    "all": PARTS,
    "head": ("fc", "rnn", "output"),
    "output": ("output",),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What a training run is made of; train.py's flags, by the same names.

    Attributes:
        records: folder that prepare wrote, with train and validation.
        workdir: where the run goes.
        architecture: a name in `published.networks.NETWORKS`.
        members: of a fusion, other networks than its own: names, or workdirs
            or model files, which bring their weights.
        backbone, taps, recurrence, units, depth, fc_units, landmarks,
            landmark_units, head_units, targets, gru, fc_dropout, rnn_dropout,
            width, fusion_units: replace the network's, see
            `affwild_omg.nets.architectures`; None leaves them.
        init_from: workdir, model file or weight file whose weights the
            network starts from, where they fit.
        init_strict: refuse to start unless all of them fit.
        train: what is trained: "all"; "head", all but the convolutions (the
            paper's fixed CNN, section 5.2); or "output", only what is above
            the RNNs, and of a fusion above its members.
        sequence_length: frames a window (the paper: 80).
        batch_size: windows a step, over all replicas (the paper: 4).
        learning_rate: Adam's (the paper: 1e-4 or 1e-5 end to end).
        part_learning_rates: "part=rate" for parts that take another, see
            `affwild_omg.nets.PARTS`.
        epochs: passes over the training split, at most.
        patience: epochs without a better validation CCC before the run
            stops; 0 never stops early.
        loss_level: "sequence" or "frame", see
            `affwild_omg.nets.losses.concordance_loss`.
        shuffle_labels: permutes the labels of train and of validation among
            their utterances: a control that has nothing to learn.
        seed: of the initial weights, the dropout, the order of the windows
            and the permutation.
    """

    records: str
    workdir: str
    architecture: str = "cnn_3rnn"
    members: Sequence[str] | None = None
    backbone: str | None = None
    taps: Sequence[str] | None = None
    recurrence: str | None = None
    units: int | None = None
    depth: int | None = None
    fc_units: int | None = None
    landmarks: bool | None = None
    landmark_units: int | None = None
    head_units: int | None = None
    targets: Sequence[str] | None = None
    gru: str | None = None
    fc_dropout: float | None = None
    rnn_dropout: float | None = None
    width: float | None = None
    fusion_units: int | None = None
    init_from: str | None = None
    init_strict: bool = False
    train: str = "all"
    sequence_length: int = 80
    batch_size: int = 4
    learning_rate: float = 1e-4
    part_learning_rates: Sequence[str] | None = None
    epochs: int = 50
    patience: int = 10
    loss_level: str = "sequence"
    shuffle_labels: bool = False
    seed: int = 0

    def __post_init__(self):
        for name, least in (
            ("sequence_length", 1),
            ("batch_size", 2 if self.loss_level == "sequence" else 1),
            ("epochs", 1),
            ("patience", 0),
        ):
            if getattr(self, name) < least:
                why = (
                    " (CCC needs two sequences to compare)"
                    if least == 2
                    else ""
                )
                raise UserError(
                    f"--{name} must be at least {least}{why}, not "
                    f"{getattr(self, name)}"
                )
        if not 0 <= self.seed < 2**32:
            raise UserError(f"--seed must be in [0, 2^32), not {self.seed}")
        if not 0 < self.learning_rate < math.inf:
            raise UserError(
                f"--learning_rate must be above 0, not {self.learning_rate}"
            )
        for name, values in (
            ("loss_level", ("sequence", "frame")),
            ("train", tuple(TRAINED)),
        ):
            if getattr(self, name) not in values:
                raise UserError(
                    f"--{name} must be {' or '.join(values)}, not "
                    f"{getattr(self, name)!r}"
                )
        if self.init_strict and not self.init_from:
            raise UserError("--init_strict says nothing without --init_from")
        if self.members is not None and not self.members:
            raise UserError("--members is empty; name two networks, or runs")
        if self.init_from and self.member_runs():
            raise UserError(
                "--init_from and --members="
                f"{', '.join(self.member_runs().values())} both bring weights; "
                "give one of the two"
            )
        self.rates()  # raises

    def member_runs(self) -> dict[str, str]:
        """Returns {"member1": path, ...} of those members that are runs."""
        return {
            f"member{index}": name
            for index, name in enumerate(self.members or (), start=1)
            if name not in networks.NETWORKS
        }

    def rates(self) -> dict[str, float]:
        """Returns `part_learning_rates` as {part: rate}.

        Raises:
            UserError: one of them is no "part=rate", or not for this run.
        """
        rates = {}
        for text in self.part_learning_rates or ():
            part, _, number = text.partition("=")
            try:
                rate = float(number)
            except ValueError:
                rate = math.nan
            if part not in PARTS or not 0 < rate < math.inf:
                raise UserError(
                    "--part_learning_rates must be like cnn=1e-5, with a part "
                    f"out of {', '.join(PARTS)} and a rate above 0, not "
                    f"{text!r}"
                )
            if part in rates:
                raise UserError(f"--part_learning_rates gives {part} twice")
            if part not in TRAINED[self.train]:
                raise UserError(
                    f"--part_learning_rates gives a rate to {part}, which "
                    f"--train={self.train} leaves fixed; leave it out or give "
                    "--train=all"
                )
            rates[part] = rate
        return rates

    def network(self) -> architectures.Architecture | architectures.Fusion:
        """Returns the network that these options name.

        Raises:
            UserError: there is no such network, or a field of it is outside
                its vocabulary or range.
        """
        overrides = {
            name: getattr(self, name)
            for name in OVERRIDES
            if getattr(self, name) is not None
        }
        members = [_member(name) for name in self.members or ()]
        try:
            return networks.named(
                self.architecture, members=members, **overrides
            )
        except UserError as error:
            # Its messages begin with a field, which here is a flag.
            raise UserError(f"--{error}") from error

    def described(self) -> str:
        """Returns the network's name, and what differs from it, as flags."""
        own = tuple(f"--{name}=" for name in ("members", *OVERRIDES))
        flags = self.to_flagfile().splitlines()
        given = [flag for flag in flags if flag.startswith(own)]
        return " ".join([self.architecture, *given])

    def to_flagfile(self) -> str:
        """Returns the text of a flagfile for train.py."""
        values = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
        }
        return "".join(
            f"{_flag(name, value)}\n"
            for name, value in values.items()
            if value is not None
        )

    def differences(self, flagfile: str) -> list[str]:
        """Returns how these options differ from those of a flagfile.

        Left aside is what may differ when a run goes on: where things lie,
        and when it ends.

        Args:
            flagfile: text that `to_flagfile` returned.
        """
        before, now = map(flags_in, (flagfile, self.to_flagfile()))
        free = ("epochs", "patience", "workdir", "records")
        return [
            f"{_shown(flag, before)} became {_shown(flag, now)}"
            for flag in before | now
            if before.get(flag) != now.get(flag) and flag not in free
        ]


def flags_in(flagfile: str) -> dict[str, str]:
    """Returns {name: value} of a text that `Options.to_flagfile` returned."""
    return dict(
        line.removeprefix("--").split("=", 1)
        for line in flagfile.splitlines()
        if "=" in line
    )


def flags_of(network: architectures.Architecture) -> str:
    """Returns the flags by which train.py names this network.

    They start from the row of `networks.NETWORKS` that differs in the
    fewest fields.
    """
    rows = {
        name: row.architecture
        for name, row in networks.NETWORKS.items()
        if isinstance(row.architecture, architectures.Architecture)
    }
    changes = {
        name: {
            field.name: getattr(network, field.name)
            for field in dataclasses.fields(network)
            if network.uses(field.name)
            and getattr(network, field.name) != getattr(row, field.name)
        }
        for name, row in rows.items()
    }
    name = min(changes, key=lambda name: len(changes[name]))
    return " ".join(
        [
            _flag("architecture", name),
            *(_flag(field, value) for field, value in changes[name].items()),
        ]
    )


def _flag(name, value):
    if isinstance(value, bool):
        value = str(value).lower()
    elif not isinstance(value, str | int | float):
        value = ",".join(value)
    return f"--{name}={value}"


def _member(name):
    """Returns the name of a network, or the network of a run."""
    if name in networks.NETWORKS:
        return name
    if not pathlib.Path(name).exists():
        raise UserError(
            f"--members={name} does not exist: it is no workdir, no .keras "
            "file and no name that --list_architectures shows"
        )
    # Heavy, and seldom needed: other flags are checked in no time.
    from affwild_omg.weights import model_file

    return model_file.read_card(name, flag="--members").architecture


def _shown(flag, flags):
    return f"--{flag}={flags[flag]}" if flag in flags else f"no --{flag}"
