"""Training: from records to a workdir with a trained model."""

import dataclasses
import errno
import math
import pathlib
import time

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from affwild_omg.cli import progress, wording
from affwild_omg.cli.errors import UserError
from affwild_omg.cli.options import to_flags
from affwild_omg.data import crops, pipeline
from affwild_omg.evaluation import protocol, sources
from affwild_omg.inference.predictor import keras_predictor
from affwild_omg.nets import models, optimizers
from affwild_omg.paper.task import TARGETS
from affwild_omg.scoring import postprocessing
from affwild_omg.storage import files
from affwild_omg.training import regime, resumption, start, validation
from affwild_omg.training.options import TrainingOptions
from affwild_omg.training.step import Step, is_comparable
from affwild_omg.weights import model_file
from affwild_omg.weights import workdir as workdirs

# Steps after which the gradients are looked at: each look waits for the device.
CHECK_EVERY = 10


def train(
    options: TrainingOptions,
    *,
    overwrite: bool = False,
    resume: bool = False,
    strategy: tf.distribute.Strategy | None = None,
) -> dict:
    """Trains a network and keeps its best epoch by validation CCC.

    Args:
        options: of the training.
        overwrite: replace an earlier training in the workdir.
        resume: go on with an earlier training of the same options and records.
        strategy: where to compute; None mirrors over the GPUs, or takes the
            one device there is.

    Returns:
        {"best_epoch", "best_ccc" (mean of the targets), "options" (those that
        are not None), "records_sha256" (of their manifest),
        "validation_level", "held_out" (the keys of those clips of train that
        are the validation split, if that is so), "start": what
        `regime.measure` found before the first step, "epochs": one entry per
        epoch with its loss, validation CCCs where it was validated, speed,
        how many batches had nothing to compare, and the same measures}.

    Raises:
        UserError: the options or the records cannot be used, or the workdir
            is not empty and neither `overwrite` nor `resume` is set.
    """
    records = validation.read(options)
    validation.check(options, records)
    strategy = strategy or default_strategy()
    if options.batch_size % strategy.num_replicas_in_sync:
        raise UserError(
            f"--batch_size={options.batch_size} must be a multiple of the "
            f"{strategy.num_replicas_in_sync} GPUs that share it"
        )
    workdir = pathlib.Path(options.workdir)
    if resume:
        resumption.check(workdir, options, records.digest)
        # The members of a fusion may be gone since.
        card = model_file.read_card(workdir, flag="--workdir")
    else:
        card = card_of(options)
        files.check_output(workdir, flag="--workdir", overwrite=overwrite)
    remove_workdir = files.make_folder(workdir)
    try:
        return _Run(options, records, card, strategy, resume).fit()
    except tf.errors.ResourceExhaustedError as error:
        if "No space left" in error.message:
            raise OSError(errno.ENOSPC, "No space left", str(workdir)) from (
                error
            )
        raise UserError(
            f"out of memory with --batch_size={options.batch_size} "
            f"--sequence_length={options.sequence_length}; make one of them, "
            "or the network by --width, smaller"
        ) from error
    finally:
        remove_workdir()  # if it stayed empty


def card_of(options: TrainingOptions) -> model_file.Card:
    """Returns the card of the model that these options train."""
    return model_file.Card(
        architecture=options.network(),
        sequence_length=options.sequence_length,
        tail=options.tail,
    )


def default_strategy() -> tf.distribute.Strategy:
    """Returns MirroredStrategy where there are GPUs, else one device."""
    if tf.config.list_physical_devices("GPU"):
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


class _Run:
    """The state of a training; `fit` takes it from epoch to epoch."""

    def __init__(self, options, records, card, strategy, resume):
        self.options = options
        self.records = records
        self.card = card
        self.strategy = strategy
        self.workdir = pathlib.Path(options.workdir)
        self.targets = card.architecture.targets
        self.columns = [TARGETS.index(target) for target in self.targets]
        self.level = validation.level_of(options, records)
        self.deciding = None  # keys, None for all
        if options.validation != "all":
            self.deciding = sources.choose_of_records(
                records, self.targets, options.validation
            )
        self.labels = dict.fromkeys(("train", "validation"))
        if options.shuffle_labels:
            for split in self.labels:
                labels = {x.key: x.labels for x in records.clips(split)}
                self.labels[split] = _permuted(labels, options.seed)
        self.provenance = {
            "options": {
                name: value
                for name, value in dataclasses.asdict(options).items()
                if value is not None
            },
            "records_sha256": records.digest,
            "validation_level": self.level,
        }
        if records.held_out:
            self.provenance["held_out"] = records.held_out
        self.epochs, self.start = [], None
        if resume:
            history = workdirs.read_history(self.workdir)
            self.epochs, self.start = history["epochs"], history.get("start")
        self.windows = len(self._windows("train"))
        # Of a pass over the data, and of an epoch.
        self.pass_batches = -(-self.windows // options.batch_size)
        self.epoch_batches = options.steps_per_epoch or self.pass_batches
        self.events = None  # TensorBoard's, from the first epoch on
        # Reports of what was taken from where.
        self.initialisation = []
        if resume:
            self.initialisation = workdirs.read_initialisation(self.workdir)
        self.probe = self._first_windows()
        if not resume:
            with records.reading("train"):
                known = crops.ranges(records.clips("train"))
            self.card = dataclasses.replace(card, crops=known)
        with strategy.scope():
            self.model = models.build(card.architecture, options.seed)
            if not resume:
                self.initialisation = start.initialise(
                    self.model,
                    card.architecture,
                    options,
                    faces=self.probe["frames"][self.probe["mask"]],
                    label_means=self._label_means(),
                )
            start.fix_parts(self.model, options, self.initialisation)
            self.optimizer = optimizers.adam(
                self.model, options.learning_rate, options.rates()
            )
            # Only so that the model file holds the optimizer's state.
            self.model.compile(optimizer=self.optimizer)
            if resume:
                path = self.workdir / workdirs.LAST
                model_file.load_weights(self.model, path, flag="--workdir")
        self.predictor = keras_predictor(self.model, card)
        self.step = Step(
            self.model, self.optimizer, strategy, options.loss_level
        )

    def _label_means(self):
        # Shuffled ones have the same.
        labels = [clip.labels for clip in self.records.clips("train")]
        return np.nanmean(np.array(labels)[:, self.columns], axis=0)

    def _first_windows(self):
        """Returns the first windows that can be trained on, of a replica."""
        with self.records.reading("train"):
            batches = list(self._train_batches(self.options.seed).take(1))
        if not batches:
            raise UserError(
                f"--records={self.options.records}: in each batch of "
                f"--batch_size={self.options.batch_size} all labels that "
                f"--loss_level={self.options.loss_level} compares are equal, "
                "so that CCC is 0 whatever is predicted; a larger batch may "
                "have others"
            )
        share = self.options.batch_size // self.strategy.num_replicas_in_sync
        return keras.tree.map_structure(
            lambda values: values.numpy()[: max(2, share)], batches[0]
        )

    def fit(self):
        if not self.epochs:
            trained = self.model.trainable_variables
            logging.info(
                "%s: %s parameters, %s of them trained, on %s",
                self.options.architecture,
                f"{self.model.count_params():,}",
                f"{sum(math.prod(variable.shape) for variable in trained):,}",
                wording.count(self.strategy.num_replicas_in_sync, "device"),
            )
            if self.deciding is not None:
                logging.info(
                    "%d utterances of validation tell the best epoch, whose "
                    "source does not stand in train",
                    len(self.deciding),
                )
            self.start = self._measure()
            regime.tell(self.start)
        elif self._done():
            logging.info(
                "nothing is left to train: it ended after epoch %d; more "
                "--epochs, or another --patience, let it go on",
                len(self.epochs),
            )
        while not self._done():
            epoch = len(self.epochs) + 1
            entry = {"epoch": epoch} | self._train_epoch(epoch)
            if (
                epoch % self.options.validate_every == 0
                or epoch >= self.options.epochs
            ):
                entry["validation"] = self._validate()
            entry["taps"] = self._measure()
            self.epochs.append(entry)
            if epoch == 1:
                # Only now does an earlier training give way.
                workdirs.clear(self.workdir)
            self._save()
            self._report(entry)
        return self._summary()

    def _measure(self):
        return regime.measure(
            self.model,
            self.card.architecture,
            self.probe,
            self.options.loss_level,
        )

    def _done(self):
        cccs = [_mean_ccc(entry) for entry in self._validated()]
        if not cccs:
            return False
        since = len(cccs) - 1 - cccs.index(max(cccs))
        return (
            len(self.epochs) >= self.options.epochs
            or 0 < self.options.patience <= since
        )

    def _validated(self):
        return [entry for entry in self.epochs if "validation" in entry]

    def _summary(self):
        best = max(self._validated(), key=_mean_ccc)
        return {
            "best_epoch": best["epoch"],
            "best_ccc": _mean_ccc(best),
            **self.provenance,
            "start": self.start,
            "epochs": self.epochs,
        }

    def _windows(self, split, shuffle_seed=None, first=0):
        return pipeline.windows(
            self.records.clips(split),
            sequence_length=self.options.sequence_length,
            tail=self.options.tail,
            shuffle_seed=shuffle_seed,
            first=first,
            labels=self.labels[split],
        )

    def _train_batches(self, seed, first=0, count=-1):
        """Builds the dataset of a pass's batches, but for useless ones.

        Args:
            seed: of the windows' order.
            first: number of the first batch.
            count: how many there are, with useless ones; -1: all that follow.
        """

        def used(batch):
            labels = tf.gather(batch["labels"], self.columns, axis=-1)
            inputs = {name: batch[name] for name in protocol.INPUTS}
            return inputs | {"labels": labels}

        def useful(batch):
            return is_comparable(
                batch["labels"], batch["mask"], self.options.loss_level
            )

        size = self.options.batch_size
        before = pipeline.windows_before(first, self.windows, size)
        windows = self._windows("train", seed, before)
        batches = pipeline.batches(windows, size, evenly=True).take(count)
        return batches.map(used).filter(useful)

    def _epoch_batches(self, epoch):
        """Yields the batches of an epoch, through passes over the data."""
        at, end = ((epoch - 1) * self.epoch_batches, epoch * self.epoch_batches)
        while at < end:
            number, first = divmod(at, self.pass_batches)
            count = min(self.pass_batches - first, end - at)
            seed = self._seed(number + 1)
            dataset = self._train_batches(seed, first, count)
            yield from self.strategy.experimental_distribute_dataset(dataset)
            at += count

    def _seed(self, number):
        # One of its own for each pass and epoch, so that a resumed training
        # sees the windows and the dropout that the whole one would have.
        return self.options.seed * 100_003 + number

    def _train_epoch(self, epoch):
        self.step.seed_dropout(self._seed(epoch))
        bar = progress.bar(
            self._epoch_batches(epoch),
            description=f"epoch {epoch}/{self.options.epochs}",
            unit="step",
            total=self.epoch_batches,
        )
        loss_sum, frames, norms = 0.0, 0.0, []
        begin = time.perf_counter()
        with self.records.reading("train"):
            for batch in bar:
                loss, norm, batch_frames = self.step(batch)
                loss_sum += loss
                frames += batch_frames
                norms.append(norm)
                if len(norms) % CHECK_EVERY == 0:
                    self._require_finite_gradients(norms, epoch)
        self._require_finite_gradients(norms, epoch)
        seconds = time.perf_counter() - begin
        return {
            "loss": float(loss_sum) / max(1, len(norms)),
            "frames_per_second": float(frames) / seconds,
            "skipped_batches": self.epoch_batches - len(norms),
        }

    def _require_finite_gradients(self, norms, epoch):
        """Checks the last norms: a CCC of NaN would pass for one of 0."""
        last = np.array(norms[-CHECK_EVERY:], float)
        bad = np.flatnonzero(~np.isfinite(last))
        if bad.size:
            step = len(norms) - len(last) + bad[0] + 1
            kept = "no epoch was finished before it"
            if self.epochs:
                kept = f"{self.workdir} keeps the model of epoch {epoch - 1}"
            raise UserError(
                f"the gradient of step {step} of epoch {epoch} is not finite; "
                "a --learning_rate lower than "
                f"{self.options.learning_rate:g} may keep it so; {kept}"
            )

    def _validate(self):
        batches = pipeline.batches(
            self._windows("validation"), self.options.batch_size
        )
        with self.records.reading("validation"):
            frames = protocol.predict_frames(
                self.predictor.predict,
                batches.as_numpy_iterator(),
                self.targets,
                self.options.sequence_length,
                self.options.tail,
            )
        seen = [
            x[mask] for x, mask in zip(frames.values, frames.mask, strict=True)
        ]
        self._require_finite(
            np.concatenate(seen).sum(), "a prediction of validation"
        )
        if self.deciding is not None:
            frames = frames.subset(np.isin(frames.keys, self.deciding))
        nothing = postprocessing.Settings.nothing(self.targets)
        rows = protocol.rows_of(frames, nothing, self.level)
        return protocol.score(rows, self.targets, level=self.level).to_dict()

    def _require_finite(self, value, what):
        if not math.isfinite(value):
            raise UserError(
                f"{what} is {value}; a lower --learning_rate than "
                f"{self.options.learning_rate:g} may keep it finite"
            )

    def _save(self):
        if not self._validated():
            return
        summary = self._summary()
        if summary["best_epoch"] == len(self.epochs):
            model_file.save_model(
                self.model, self.card, self.workdir / workdirs.BEST
            )
        model_file.save_model(
            self.model,
            self.card,
            self.workdir / workdirs.LAST,
            include_optimizer=True,
        )
        flags = "".join(f"{flag}\n" for flag in to_flags(self.options))
        files.write_text(self.workdir / workdirs.FLAGFILE, flags)
        if self.initialisation:
            files.write_json(
                self.workdir / workdirs.INITIALISATION, self.initialisation
            )
        files.write_json(self.workdir / workdirs.HISTORY, summary)

    def _report(self, entry):
        scalars = {
            "loss": entry["loss"],
            "frames_per_second": entry["frames_per_second"],
        }
        told = "no validation"
        if "validation" in entry:
            cccs = {
                name: entry["validation"][name]["ccc"] for name in self.targets
            }
            scalars["validation/mean_ccc"] = _mean_ccc(entry)
            scalars |= {f"validation/ccc_{x}": ccc for x, ccc in cccs.items()}
            told = f"validation CCC by {self.level}: " + ", ".join(
                f"{name} {wording.number(ccc)}" for name, ccc in cccs.items()
            )
        if self.events is None:
            path = self.workdir / workdirs.EVENTS
            self.events = tf.summary.create_file_writer(str(path))
        with self.events.as_default():
            for name, value in scalars.items():
                tf.summary.scalar(name, value, entry["epoch"])
            steps = {entry["epoch"]: entry["taps"]}
            if entry["epoch"] == 1:
                steps[0] = self.start
            for step, taps in steps.items():
                for tap, found in taps.items():
                    for name, value in found.items():
                        tf.summary.scalar(f"{name}/{tap}", value, step)
        self.events.flush()
        logging.info(
            "epoch %d: loss %.3f, %s, %.0f frames/s",
            entry["epoch"],
            entry["loss"],
            told,
            entry["frames_per_second"],
        )
        if entry["skipped_batches"]:
            logging.warning(
                "batches of epoch %d left out, because the labels in them are "
                "all equal, or there are none: %d",
                *(entry["epoch"], entry["skipped_batches"]),
            )


def _permuted(labels, seed):
    """Swaps the labels of each target among the clips that have one."""
    values = np.array(list(labels.values()))
    for column in values.T:
        known = np.flatnonzero(np.isfinite(column))
        order = np.random.default_rng(seed).permutation(known)
        column[known] = column[order]
    return dict(zip(labels, values, strict=True))


def _mean_ccc(entry):
    return entry["validation"]["mean_ccc"]
