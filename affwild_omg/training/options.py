"""What a training is made of: train.py's flags, checked."""

import contextlib
import dataclasses
import math
import pathlib
import re
import urllib.parse
from collections.abc import Mapping, Sequence

from affwild_omg.cli import options
from affwild_omg.cli.errors import UserError
from affwild_omg.cli.options import option
from affwild_omg.evaluation.options import VALIDATIONS
from affwild_omg.nets import architectures
from affwild_omg.nets.architectures import PARTS
from affwild_omg.paper.windows import AUGMENTATIONS, TAILS
from affwild_omg.published import networks

# Options that replace fields of the named architecture.
OVERRIDES = tuple(
    field.name for field in dataclasses.fields(architectures.Architecture)
) + ("fusion_units",)
# What `TrainingOptions.train` trains, in parts of the network.
TRAINED = {
    "all": PARTS,
    "head": ("fc", "rnn", "output"),
    "output": ("output",),
}

# Keras' policies: weights stay float32, whatever is computed in.
POLICIES = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}

EPOCH = "epoch"  # of `TrainingOptions.checkpoint_every`

# What trainings of earlier versions had that do not state it.
EARLIER = {"tail": "pad"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingOptions(options.Checked):
    """What a training is made of: the flags of train.py.

    Those from `members` to `fusion_units` replace fields of the network's row,
    see `affwild_omg.nets.architectures`; None leaves them.
    """

    records: str = option(
        "Folder that affwild_omg.prepare wrote, or several, separated by "
        "commas: all their train splits, and validation of the first.",
        address=True,
    )
    mix: Sequence[str] | None = option(
        "Shares of the windows of training that are from each of several "
        "--records, such as 0.5,0.5 (default: as many as each has).",
        None,
    )
    workdir: str = option(
        "Folder for the trained model, its history and TensorBoard's files.",
        address=True,
    )
    # The network: a row of --list_architectures, and what is to differ from it.
    architecture: str = option(
        "Network; --list_architectures shows all.", "cnn_3rnn"
    )
    members: Sequence[str] | None = option(
        "Of a fusion: two networks or more in the place of its own, by name or "
        "by a workdir or .keras file, which brings its weights "
        "(default: the network's).",
        None,
    )
    backbone: str | None = option(
        "vgg_face, resnet50, densenet121 or resnet50_slim (default: the "
        "network's).",
        None,
    )
    taps: Sequence[str] | None = option(
        "Layers whose features are used, such as pool2,conv3_1,fc (default: "
        "the network's).",
        None,
    )
    recurrence: str | None = option(
        "GRUs: none, one stack on all taps, or a stack for each tap (default: "
        "the network's).",
        None,
        choices=architectures.RECURRENCES,
    )
    units: int | None = option("Units of a GRU layer (default: 128).", None)
    depth: int | None = option("GRU layers in a stack (default: 2).", None)
    fc_units: int | None = option(
        "Units of fc (default: 4096 on VGG-Face, else 1500).", None
    )
    landmarks: bool | None = option(
        "Take 68 landmarks as input, too (default: true).", None
    )
    landmark_units: int | None = option(
        "Units of a layer on landmarks, 512 to 2048 in the paper; 0: none "
        "(default: 0).",
        None,
    )
    head_units: int | None = option(
        "Units of a layer before the output; 0: none (default: the network's).",
        None,
    )
    targets: Sequence[str] | None = option(
        "valence, arousal or both (default: both).", None
    )
    gru: str | None = option(
        "Where the reset gate acts: before the matrix product (the authors'), "
        "or after it, as NVIDIA's kernels do (default: reset_before).",
        None,
        choices=architectures.GRUS,
    )
    fc_dropout: float | None = option(
        "Dropout rate after fc (default: 0.5).", None
    )
    rnn_dropout: float | None = option(
        "Dropout rate between GRU layers (default: 0.2).", None
    )
    width: float | None = option(
        "Fraction of the channels of the CNN and of fc, in (0, 1] (default: "
        "1).",
        None,
    )
    fusion_units: int | None = option(
        "Units of a fusion's own layer (default: 128).", None
    )
    # Where its weights come from, and which of them are trained.
    init_from: str | None = option(
        "Workdir, .keras file, VGG-Face weights (.mat, .caffemodel, .t7, .h5, "
        ".npz) or ImageNet weights (.h5) to start from: every weight that fits "
        "is taken (default: random weights).",
        None,
    )
    init_strict: bool = option(
        "Refuse to start unless all of --init_from fits.", False
    )
    other_landmarks: bool = option(
        "Start from --init_from or --members although they learned from "
        "landmarks of another model than those of the records.",
        False,
    )
    train: str = option(
        "What is trained: all; all but the CNN (the paper's fixed CNN); or "
        "what is above the RNNs, and of a fusion above its members.",
        "all",
        choices=tuple(TRAINED),
    )
    freeze_batch_norm: bool = option(
        "Leave batch normalisation that came with weights as it is: its "
        "statistics would become those of the few people of a batch.",
        True,
    )
    precision: str = option(
        "What the network computes in; weights, Adam's moments, normalisation, "
        "output and loss are float32 always.",
        "float32",
        choices=tuple(POLICIES),
    )
    jit_compile: bool = option(
        "Compile the step by XLA, for one CPU or GPU.", False
    )
    tf32: bool = option(
        "Let a GPU round the factors of float32 products to TensorFloat-32, of "
        "three digits.",
        False,
    )
    sequence_length: int = option("Frames of a window.", 80, least=1)
    cache_features: str | None = option(
        "Folder in which the features of the fixed CNN are kept, of each set "
        "of records and weights: they are computed once, in float16, for "
        "--train=head or output (default: they are computed in each step).",
        None,
    )
    augment: Sequence[str] | None = option(
        "What changes at random in windows of training, all frames alike and "
        "landmarks with them: mirror, place (shift, scale, rotation), light "
        "(brightness, contrast), jpeg (quality), rate (drops every other "
        "frame), separated by commas (default: nothing).",
        None,
    )
    data_service: str | None = option(
        "Dispatcher of tf.data.experimental.service, such as grpc://host:5050, "
        "whose workers read, decode and augment the windows of training "
        "(default: this process does).",
        None,
        address=True,
    )
    stride: int = option(
        "Frames from a window of training to the next; less than "
        "--sequence_length lets them overlap; 0: --sequence_length.",
        0,
        least=0,
    )
    tail: str = option(
        "The last window of a clip: padded, with as many frames before it as "
        "fill it (overlap; each frame is scored once), or as long as the "
        "others (spread).",
        "overlap",
        choices=TAILS,
    )
    batch_size: int = option(
        "Windows at once, over all GPUs; a step has as many, unless "
        "--ccc_sequences says otherwise.",
        4,
        least=1,
    )
    ccc_sequences: int = option(
        "Windows of a step, over which CCC is formed, with its exact gradient, "
        "however few of them are taken at once; 0: those of --batch_size.",
        0,
        least=0,
    )
    learning_rate: float = option(
        "Adam's learning rate (paper: 1e-4, 1e-5; fixed CNN: 1e-3).", 1e-5
    )
    part_learning_rates: Sequence[str] | None = option(
        "Learning rates of parts that take another: cnn, fc, rnn or output, "
        "such as cnn=1e-5,rnn=1e-3 (default: none does).",
        None,
    )
    schedule: str = option(
        "The learning rates after the warm-up: constant, falling to 0 in the "
        "last step by half a cosine, or to a tenth at each plateau of "
        "--plateau_patience.",
        "constant",
        choices=("constant", "cosine", "plateau"),
    )
    plateau_patience: int = option(
        "Validations without a better CCC that are a plateau.", 3, least=1
    )
    warmup_steps: int = option(
        "Steps in which the learning rates rise from 0.", 0, least=0
    )
    clip_norm: float = option(
        "Norm of all gradients together that a larger one is scaled to; 0: "
        "none is.",
        0.0,
        least=0,
        most=10**6,
    )
    weight_decay: float = option(
        "AdamW's decay of weights, but for biases and normalisation, in units "
        "of the learning rate; 0: none.",
        0.0,
        least=0,
        most=1,
    )
    ema: float = option(
        "Share of the moving average of the weights that stays in a step, such "
        "as 0.999; validation and the best model take the averages; 0: there "
        "are none.",
        0.0,
        least=0,
        most=0.999999,
    )
    epochs: int = option(
        "Epochs, at most: passes over the training data, unless "
        "--steps_per_epoch says otherwise.",
        50,
        least=1,
    )
    steps_per_epoch: int = option(
        "Steps (batches) of an epoch; the next one goes on with the data where "
        "it ended; 0: a pass over the training data.",
        0,
        least=0,
    )
    validate_every: int = option(
        "Epochs from one validation to the next; the last has one always.",
        1,
        least=1,
    )
    patience: int = option(
        "Validations without a better CCC before it stops; 0: never.",
        10,
        least=0,
    )
    checkpoint_every: str = option(
        "When the training is saved, to go on from there by --resume: after "
        "each epoch and each half hour, or after so many steps or minutes, "
        "such as 500 or 10min; always after a new best epoch, and at the end.",
        EPOCH,
    )
    keep_checkpoints: int = option(
        "How many checkpoints stay, of which the last is one.", 2, least=1
    )
    profile_steps: Sequence[str] | None = option(
        "First and last step, counted from the start of the training, to "
        "profile for TensorBoard, such as 10,20 (default: none).",
        None,
    )
    validation: str = option(
        "Which utterances of validation tell the best epoch: all (the "
        "paper's), or those whose source does not stand in train.",
        "all",
        choices=VALIDATIONS,
    )
    validation_level: str | None = option(
        "What CCC compares on validation, by which the best epoch is chosen "
        "(default: frames where labels differ within a clip, else utterances).",
        None,
        choices=("frame", "sequence", "utterance"),
    )
    holdout: float = option(
        "Of records without a validation split, the share of train that is "
        "one, by person, else source, else video; 0: none.",
        0.0,
        least=0,
        most=1,
    )
    loss_level: str = option(
        "What CCC compares in the loss: means of sequences, the same weighted "
        "by the frames that count, or frames.",
        "sequence",
        choices=("sequence", "weighted_sequence", "frame"),
    )
    loss: str = option(
        "1 - CCC, the mean squared error of what it compares, or the sum of "
        "the two.",
        "ccc",
        choices=("ccc", "mse", "ccc_mse"),
    )
    mse_weight: float = option(
        "Weight of the squared error in --loss=ccc_mse.", 1.0
    )
    target_weights: Sequence[str] | None = option(
        "Weights of targets in the loss, such as valence=1,arousal=0.5 "
        "(default: 1 each).",
        None,
    )
    shuffle_labels: bool = option(
        "Permute the labels among the utterances, for a control.", False
    )
    seed: int = option(
        "Seed of weights, dropout and order.", 0, least=0, most=2**32 - 1
    )

    def __post_init__(self):
        super().__post_init__()
        if 0 < self.ccc_sequences < self.batch_size:
            raise UserError(
                f"--ccc_sequences={self.ccc_sequences} is less than "
                f"--batch_size={self.batch_size}; make that no larger"
            )
        flag, windows = self.step_windows()
        if self.loss_level != "frame" and windows < 2:
            raise UserError(
                f"--{flag} must be at least 2 (CCC needs two sequences to "
                f"compare), not {windows}"
            )
        if not 0 < self.learning_rate < math.inf:
            raise UserError(
                f"--learning_rate must be above 0, not {self.learning_rate}"
            )
        if not 0 < self.mse_weight < math.inf:
            raise UserError(
                f"--mse_weight must be above 0, not {self.mse_weight}"
            )
        if self.mse_weight != 1 and self.loss != "ccc_mse":
            raise UserError(
                f"--mse_weight changes nothing in --loss={self.loss}; it is "
                "for ccc_mse"
            )
        if self.schedule == "plateau":
            if self.warmup_steps:
                raise UserError(
                    "--warmup_steps does not go with --schedule=plateau; give "
                    "one of the two"
                )
            if 0 < self.patience <= self.plateau_patience:
                raise UserError(
                    f"--patience={self.patience} ends the training before any "
                    f"plateau of --plateau_patience={self.plateau_patience} "
                    "has an effect; make it larger, or 0"
                )
        elif self.plateau_patience != type(self).plateau_patience:
            raise UserError(
                f"--plateau_patience={self.plateau_patience} changes nothing "
                f"with --schedule={self.schedule}; it is for plateau"
            )
        if self.init_strict and not self.init_from:
            raise UserError("--init_strict requires --init_from")
        if self.other_landmarks and not (self.init_from or self.members):
            raise UserError(
                "--other_landmarks requires --init_from or --members"
            )
        if self.members is not None and not self.members:
            raise UserError("--members is empty; name two networks, or runs")
        if self.init_from and self.member_runs():
            raise UserError(
                "--init_from and --members="
                f"{', '.join(self.member_runs().values())} both bring weights; "
                "give one of the two"
            )
        if unknown := set(self.augment or ()) - set(AUGMENTATIONS):
            raise UserError(
                f"--augment has {', '.join(sorted(unknown))}, which is not "
                f"among {', '.join(AUGMENTATIONS)}"
            )
        if self.stride > self.sequence_length:
            raise UserError(
                f"--stride={self.stride} would leave out frames between "
                f"windows of --sequence_length={self.sequence_length}; give "
                "that or less"
            )
        if self.shuffle_labels and len(self.folders()) > 1:
            raise UserError(
                "--shuffle_labels is a control on one corpus; name one folder "
                "in --records"
            )
        if self.cache_features and (self.train == "all" or self.augment):
            flag = "augment" if self.augment else "train"
            raise UserError(
                "--cache_features is for what stands on a fixed CNN, and does "
                f"not go with {options.to_flag(flag, getattr(self, flag))}; "
                "leave one of the two out"
            )
        self._check_data_service()
        self.shares()  # raises
        self.rates()  # raises
        self.checkpoint_limits()  # raises
        self.profiled()  # raises

    def _check_data_service(self):
        if self.data_service is None:
            return
        try:
            place = urllib.parse.urlsplit(self.data_service)
            right = place.scheme == "grpc" and place.hostname and place.port
            right = right and place.geturl() == f"grpc://{place.netloc}"
        except ValueError:
            right = False
        if not right:
            raise UserError(
                f"--data_service={self.data_service} must be like "
                "grpc://host:5050, where a dispatcher listens"
            )
        if self.cache_features:
            raise UserError(
                "--data_service has windows decoded, of which --cache_features "
                "needs none; leave one of the two out"
            )

    def folders(self) -> list[str]:
        """Returns the folders of `records`.

        One whose own name has a comma can be the only one.
        """
        if pathlib.Path(self.records).exists():
            return [self.records]
        return self.records.split(",")

    def shares(self) -> list[float] | None:
        """Returns `mix` as numbers.

        Raises:
            UserError: it is not one above 0 for each folder.
        """
        if self.mix is None:
            return None
        try:
            found = [float(text) for text in self.mix]
        except ValueError:
            found = [0.0]
        count = len(self.folders())
        if (
            count < 2
            or len(found) != count
            or not all(0 < x < math.inf for x in found)
        ):
            raise UserError(
                f"--mix={','.join(self.mix)} must be a number above 0 for each "
                f"of several folders of --records, which names {count}"
            )
        return found

    def step_windows(self) -> tuple[str, int]:
        """Returns the windows of a step, after the flag that says so."""
        flag = "ccc_sequences" if self.ccc_sequences else "batch_size"
        return flag, getattr(self, flag)

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
            UserError: one is not like part=rate.
        """
        return self._numbers("part_learning_rates", "cnn=1e-5, with rates")

    def _numbers(self, flag, form):
        """Returns a flag's {name: number above 0}, or raises UserError."""
        numbers = {}
        given = options.pairs(flag, getattr(self, flag))
        for name, text in given.items():
            with contextlib.suppress(ValueError):
                numbers[name] = float(text)
            if not 0 < numbers.get(name, 0) < math.inf:
                raise UserError(
                    f"--{flag} must be like {form} above 0, not '{name}={text}'"
                )
        return numbers

    def loss_settings(self, targets: Sequence[str]) -> dict:
        """Returns how `nets.losses.concordance_loss` is to weigh.

        Args:
            targets: of the network, in order.

        Raises:
            UserError: a weight is not like target=weight, or of no target.
        """
        given = self._numbers("target_weights", "valence=1, with weights")
        if unknown := ", ".join(sorted(given.keys() - set(targets))):
            raise UserError(
                f"--target_weights gives a weight to {unknown}; the network "
                f"has {', '.join(targets)}"
            )
        return {
            "ccc_weight": float(self.loss != "mse"),
            "mse_weight": 0.0 if self.loss == "ccc" else self.mse_weight,
            "target_weights": [given.get(name, 1.0) for name in targets],
        }

    def checkpoint_limits(self) -> tuple[float, float]:
        """Returns the steps and seconds after which a checkpoint is due.

        Raises:
            UserError: `checkpoint_every` is neither.
        """
        text = self.checkpoint_every
        if text == EPOCH:
            return math.inf, 60 * 30  # a pass may take a day
        found = re.fullmatch(r"0*([1-9]\d*)(min)?", text)
        if not found:
            raise UserError(
                "--checkpoint_every must be epoch, or steps or minutes above "
                f"0, such as 500 or 10min, not {text!r}"
            )
        number, minutes = int(found[1]), found[2]
        return (math.inf, 60 * number) if minutes else (number, math.inf)

    def profiled(self) -> tuple[int, ...]:
        """Returns the first and the last step to profile, if there are any.

        Raises:
            UserError: `profile_steps` are not two numbers in order.
        """
        given = tuple(self.profile_steps or ())
        if not given:
            return ()
        if len(given) == 2 and all(re.fullmatch(r"\d{1,15}", x) for x in given):
            first, last = map(int, given)
            if 0 < first <= last:
                return first, last
        raise UserError(
            "--profile_steps must be the first step and the last, counted from "
            f"1, such as 10,20, not '{','.join(given)}'"
        )

    def require_sources(self, resume: bool = False) -> None:
        """Checks that records, and what the weights come from, are there.

        A training that is resumed needs no more of the latter.

        Raises:
            UserError: they are not.
        """
        for folder in self.folders():
            if not (
                options.is_address(folder) or pathlib.Path(folder).exists()
            ):
                raise UserError(
                    f"--records={folder} does not exist (Folder that "
                    "affwild_omg.prepare wrote)"
                )
        if resume:
            return
        if self.init_from and not pathlib.Path(self.init_from).exists():
            raise UserError(
                f"--init_from={self.init_from} does not exist; give a workdir "
                "or a weight file"
            )

    def network(self) -> architectures.Architecture | architectures.Fusion:
        """Returns the network that these options name.

        Raises:
            UserError: the network does not exist, or a field of it is outside
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

    def free(self) -> tuple[str, ...]:
        """Returns what may differ when a training goes on.

        Where things lie, what is saved and when, and when it ends (but for a
        cosine, which ends then).
        """
        free = ("patience", "workdir", "records", "profile_steps")
        free += ("data_service",)
        free += ("checkpoint_every", "keep_checkpoints")
        # A cosine ends with the epochs.
        return free if self.schedule == "cosine" else (*free, "epochs")

    def changes_from(self, before: Mapping[str, object]) -> list[str]:
        """Returns in what these options differ from those of another training.

        What may differ when a training goes on is left aside, see `free`.

        Args:
            before: {name: value}, as `dataclasses.asdict` returns it, or JSON.
        """

        def shown(name, value):
            if value is None:
                return f"no --{name}"
            if name == "cache_features":  # wherever it lies
                return f"--{name}"
            return options.to_flag(name, value)

        changes = []
        for field in dataclasses.fields(self):
            name = field.name
            earlier = EARLIER.get(name, field.default)
            was = shown(name, before.get(name, earlier))
            now = shown(name, getattr(self, name))
            if was != now and name not in self.free():
                changes.append(f"{was} became {now}")
        known = {field.name for field in dataclasses.fields(self)}
        others = [
            options.to_flag(*x) for x in before.items() if x[0] not in known
        ]
        return changes + [
            f"{flag} is of another version of affwild_omg" for flag in others
        ]


def flags_of(network: architectures.Architecture) -> str:
    """Returns the flags by which train.py names this network."""
    row = networks.NETWORKS["cnn_3rnn"].architecture
    changes = {
        field.name: getattr(network, field.name)
        for field in dataclasses.fields(network)
        if network.uses(field.name)
        and getattr(network, field.name) != getattr(row, field.name)
    }
    flags = {"architecture": "cnn_3rnn"} | changes
    return " ".join(options.to_flag(*flag) for flag in flags.items())


def _member(name):
    """Returns the name of a network, or the network of a model."""
    if name in networks.NETWORKS:
        return name
    if not pathlib.Path(name).exists():
        raise UserError(
            f"--members={name} does not exist: it is not a workdir, a .keras "
            "file or a name that --list_architectures shows"
        )
    # Imports TensorFlow, which takes long: only where a model is given.
    from affwild_omg.weights import model_file

    return model_file.read_card(name, flag="--members").architecture
