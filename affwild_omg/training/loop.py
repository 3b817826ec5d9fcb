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
from affwild_omg.data import manifest, pipeline
from affwild_omg.evaluation import protocol
from affwild_omg.inference.predictor import keras_predictor
from affwild_omg.nets import architectures, losses, models, optimizers, parts
from affwild_omg.paper.task import TARGETS
from affwild_omg.scoring import postprocessing
from affwild_omg.storage import files
from affwild_omg.training import resumption
from affwild_omg.training.options import TRAINED, TrainingOptions
from affwild_omg.weights import model_file, transfer
from affwild_omg.weights import workdir as workdirs


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
        are not None), "records_sha256" (of their manifest), "epochs": one
        entry per epoch with its loss, validation CCCs and speed}.

    Raises:
        UserError: the options or the records cannot be used, or the workdir
            is not empty and neither `overwrite` nor `resume` is set.
    """
    for split in ("train", "validation"):
        manifest.check(options.records, split, labels=options.network().targets)
    strategy = strategy or default_strategy()
    if options.batch_size % strategy.num_replicas_in_sync:
        raise UserError(
            f"--batch_size={options.batch_size} must be a multiple of the "
            f"{strategy.num_replicas_in_sync} GPUs that share it"
        )
    workdir = pathlib.Path(options.workdir)
    if resume:
        resumption.check(workdir, options)
        # The members of a fusion may be gone since.
        card = model_file.read_card(workdir, flag="--workdir")
    else:
        card = card_of(options)
        files.check_output(workdir, flag="--workdir", overwrite=overwrite)
    remove_workdir = files.make_folder(workdir)
    try:
        return _Run(options, card, strategy, resume).fit()
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
        architecture=options.network(), sequence_length=options.sequence_length
    )


def default_strategy() -> tf.distribute.Strategy:
    """Returns MirroredStrategy where there are GPUs, else one device."""
    if tf.config.list_physical_devices("GPU"):
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


class _Run:
    """The state of a training; `fit` takes it from epoch to epoch."""

    def __init__(self, options, card, strategy, resume):
        self.options = options
        self.card = card
        self.strategy = strategy
        self.workdir = pathlib.Path(options.workdir)
        self.targets = card.architecture.targets
        self.columns = [TARGETS.index(target) for target in self.targets]
        self.labels = dict.fromkeys(("train", "validation"))
        if options.shuffle_labels:
            for split in self.labels:
                labels = pipeline.read_labels(options.records, split)
                self.labels[split] = _permuted(labels, options.seed)
        self.provenance = {
            "options": {
                name: value
                for name, value in dataclasses.asdict(options).items()
                if value is not None
            },
            "records_sha256": manifest.digest(options.records),
        }
        self.epochs = []
        if resume:
            self.epochs = workdirs.read_history(self.workdir)["epochs"]
        self.events = None  # TensorBoard's, from the first epoch on
        self.initialisation = []  # reports of what was taken from where
        with strategy.scope():
            self.model = models.build(card.architecture, options.seed)
            if not resume:
                self._initialise()
            self._fix_parts()
            rates = options.rates()
            self.optimizer = (
                optimizers.PartAdam(options.learning_rate, rates=rates)
                if rates
                else keras.optimizers.Adam(options.learning_rate)
            )
            self.optimizer.build(self.model.trainable_variables)
            # Only so that the model file holds the optimizer's state.
            self.model.compile(optimizer=self.optimizer)
            if resume:
                path = self.workdir / workdirs.LAST
                model_file.load_weights(self.model, path, flag="--workdir")
        self.predictor = keras_predictor(self.model, card)
        self.train_step = tf.function(self._train_step)

    def _initialise(self):
        """Takes weights from where the options say."""
        sources = [
            ("--members", path, {"member": member})
            for member, path in self.options.member_runs().items()
        ]
        if path := self.options.init_from:
            strict = self.options.init_strict
            sources.append(("--init_from", path, {"strict": strict}))
        for flag, path, how in sources:
            source = transfer.read(path, flag=flag)
            report = transfer.take(
                self.model, self.card.architecture, source, **how
            )
            self.initialisation.append(report)
            for line in report.lines():
                logging.info("%s", line)
        taken = [name for one in self.initialisation for name in one.taken]
        if "output/bias" not in taken:
            self._start_at_label_means()

    def _start_at_label_means(self):
        """Sets the output's bias to the mean of the training labels.

        CCC's gradient falls with the square of the distance of the means: a
        network that starts half a unit off the labels, as one from 0 does in
        arousal, may wander off before it has learned anything.
        """
        labels = self.labels["train"] or pipeline.read_labels(
            self.options.records, "train"
        )
        own = np.array(list(labels.values()))[:, self.columns]
        self.model.get_layer("output").bias.assign(np.nanmean(own, axis=0))

    def _fix_parts(self):
        """Fixes what `TrainingOptions.train` does not train."""
        trained = set()
        for layer in parts.layers(self.model):
            if layer.weights:
                part = parts.part_of(layer.name)
                layer.trainable = part in TRAINED[self.options.train]
                trained |= {part} if layer.trainable else set()
        for part in self.options.rates():
            if part not in trained:
                known = sorted(trained, key=architectures.PARTS.index)
                raise UserError(
                    f"--part_learning_rates gives a rate to {part}, which "
                    f"{self.options.architecture} does not have or --train="
                    f"{self.options.train} leaves fixed; trained are "
                    f"{', '.join(known)}"
                )

    def fit(self):
        if not self.epochs:
            trained = self.model.trainable_variables
            logging.info(
                "%s: %s parameters, %s of them trained, %d replica(s)",
                self.options.architecture,
                f"{self.model.count_params():,}",
                f"{sum(math.prod(variable.shape) for variable in trained):,}",
                self.strategy.num_replicas_in_sync,
            )
        elif self._done():
            logging.info(
                "nothing is left to train: it ended after epoch %d; more "
                "--epochs, or another --patience, let it go on",
                len(self.epochs),
            )
        while not self._done():
            epoch = len(self.epochs) + 1
            entry = {"epoch": epoch} | self._train_epoch(epoch)
            entry["validation"] = self._validate()
            self.epochs.append(entry)
            if epoch == 1:
                # Only now does an earlier training give way.
                workdirs.clear(self.workdir)
            self._save()
            self._report(entry)
        return self._summary()

    def _done(self):
        if not self.epochs:
            return False
        since = len(self.epochs) - self._summary()["best_epoch"]
        return (
            len(self.epochs) >= self.options.epochs
            or 0 < self.options.patience <= since
        )

    def _summary(self):
        best = max(self.epochs, key=_mean_ccc)
        return {
            "best_epoch": best["epoch"],
            "best_ccc": _mean_ccc(best),
            **self.provenance,
            "epochs": self.epochs,
        }

    def _batches(self, split, shuffle_seed=None):
        windows = pipeline.windows(
            self.options.records,
            split,
            sequence_length=self.options.sequence_length,
            shuffle_seed=shuffle_seed,
            labels=self.labels[split],
        )
        return pipeline.batches(windows, self.options.batch_size)

    def _train_epoch(self, epoch):
        # Seeds of its own for each epoch, so that a resumed training
        # sees the windows and the dropout that the whole one would have.
        epoch_seed = self.options.seed * 100_003 + epoch
        self._seed_dropout(epoch_seed)
        names = [tensor.name for tensor in self.model.inputs]
        dataset = self._batches("train", epoch_seed).map(
            lambda batch: {
                "inputs": {name: batch[name] for name in names},
                "labels": batch["labels"],
            }
        )
        windows = pipeline.count_windows(
            self.options.records, "train", self.options.sequence_length
        )
        total = -(-windows // self.options.batch_size)
        steps = progress.bar(
            self.strategy.experimental_distribute_dataset(dataset),
            description=f"epoch {epoch}/{self.options.epochs}",
            unit="step",
            total=total,
        )
        loss_sum, labelled, frames = 0.0, 0.0, 0.0
        start = time.perf_counter()
        with manifest.reading(self.options.records, "train"):
            for batch in steps:
                loss, has_labels, batch_frames = self.train_step(batch)
                loss_sum += loss * has_labels
                labelled += has_labels
                frames += batch_frames
        seconds = time.perf_counter() - start
        loss = float(loss_sum) / float(labelled)
        self._require_finite(loss, f"the loss of epoch {epoch}")
        return {"loss": loss, "frames_per_second": float(frames) / seconds}

    def _seed_dropout(self, seed):
        for index, layer in enumerate(parts.layers(self.model)):
            if isinstance(layer, keras.layers.Dropout) and layer.rate:
                state = layer.seed_generator.state
                state.assign(np.array([seed % 2**32, index], state.dtype))

    def _train_step(self, batch):
        losses_, *counts = self.strategy.run(self._replica_step, args=(batch,))
        labels, frames = (
            self.strategy.reduce("SUM", count, axis=None) for count in counts
        )
        # The loss is the whole batch's on each replica already: any will do.
        loss = self.strategy.experimental_local_results(losses_)[0]
        return loss, tf.sign(labels), frames

    def _replica_step(self, batch):
        context = tf.distribute.get_replica_context()
        replicas = context.num_replicas_in_sync

        def over_replicas(sums):
            if replicas == 1:
                return sums
            return context.all_reduce(tf.distribute.ReduceOp.SUM, sums)

        mask = batch["inputs"]["mask"]
        labels = tf.gather(batch["labels"], self.columns, axis=-1)
        with tf.GradientTape() as tape:
            loss = losses.concordance_loss(
                labels,
                self.model(batch["inputs"], training=True),
                mask,
                level=self.options.loss_level,
                reduce=over_replicas,
            )
            # Every replica's loss is the whole batch's. The gradient of
            # all_reduce sums over the replicas, and so does the optimizer.
            scaled = loss / replicas
        variables = self.model.trainable_variables
        gradients = tape.gradient(scaled, variables)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss, *(
            tf.math.count_nonzero(x, dtype=tf.float32)
            for x in (losses.counted(labels, mask), mask)
        )

    def _validate(self):
        with manifest.reading(self.options.records, "validation"):
            frames = protocol.predict_frames(
                self.predictor.predict,
                self._batches("validation").as_numpy_iterator(),
                self.targets,
                self.options.sequence_length,
            )
        seen = [
            x[mask] for x, mask in zip(frames.values, frames.mask, strict=True)
        ]
        self._require_finite(
            np.concatenate(seen).sum(), "a prediction of validation"
        )
        nothing = postprocessing.Settings.nothing(self.targets)
        rows = protocol.rows_of(frames, nothing, "utterance")
        return protocol.score(rows, self.targets).to_dict()

    def _require_finite(self, value, what):
        if not math.isfinite(value):
            raise UserError(
                f"{what} is {value}; a lower --learning_rate than "
                f"{self.options.learning_rate:g} may keep it finite"
            )

    def _save(self):
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
                self.workdir / workdirs.INITIALISATION,
                [dataclasses.asdict(report) for report in self.initialisation],
            )
        files.write_json(self.workdir / workdirs.HISTORY, summary)

    def _report(self, entry):
        cccs = {name: entry["validation"][name]["ccc"] for name in self.targets}
        scalars = {
            "loss": entry["loss"],
            "frames_per_second": entry["frames_per_second"],
            "validation/mean_ccc": _mean_ccc(entry),
            **{f"validation/ccc_{name}": ccc for name, ccc in cccs.items()},
        }
        if self.events is None:
            path = self.workdir / workdirs.EVENTS
            self.events = tf.summary.create_file_writer(str(path))
        with self.events.as_default(step=entry["epoch"]):
            for name, value in scalars.items():
                tf.summary.scalar(name, value)
        self.events.flush()
        logging.info(
            "epoch %d: loss %.3f, validation CCC %s, %.0f frames/s",
            entry["epoch"],
            entry["loss"],
            ", ".join(f"{x} {wording.number(ccc)}" for x, ccc in cccs.items()),
            entry["frames_per_second"],
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
