"""Training: from records to a workdir with a trained model."""

import contextlib
import dataclasses
import errno
import math
import pathlib
import time
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from affwild_omg import __version__
from affwild_omg.cli import progress, wording
from affwild_omg.cli.errors import UserError
from affwild_omg.cli.options import to_flags
from affwild_omg.data import crops
from affwild_omg.evaluation import protocol, sources
from affwild_omg.inference.predictor import default_strategy, keras_predictor
from affwild_omg.nets import models, optimizers
from affwild_omg.paper.task import TARGETS
from affwild_omg.scoring import postprocessing
from affwild_omg.storage import files, locks, remote
from affwild_omg.training import (
    checkpoints,
    regime,
    resumption,
    start,
    validation,
    watching,
)
from affwild_omg.training.batches import Batches
from affwild_omg.training.cluster import Cluster
from affwild_omg.training.options import EPOCH, POLICIES, TrainingOptions
from affwild_omg.training.step import Step
from affwild_omg.weights import model_file
from affwild_omg.weights import workdir as workdirs

# Of the learning rate, what is left of it after a plateau.
PLATEAU_FACTOR = 0.1


def train(
    options: TrainingOptions,
    *,
    overwrite: bool = False,
    resume: bool = False,
    strategy: tf.distribute.Strategy | None = None,
    cluster: Cluster | None = None,
) -> dict:
    """Trains a network and keeps its best epoch by validation CCC.

    Args:
        options: of the training.
        overwrite: replace an earlier training in the workdir.
        resume: go on with an earlier training of the same options and records
            from its last checkpoint; an empty workdir has none, and starts one.
        strategy: where to compute; None mirrors over the GPUs, or takes the
            one device there is.
        cluster: the processes, this one among them, that train together and
            all call this; its strategy is taken.

    Returns:
        {"best_epoch", "best_ccc" (mean of the targets), "options" (those that
        are not None), "records_sha256" (of their manifest),
        "validation_level", "held_out" (the keys of those clips of train that
        are the validation split, if that is so), "start": what
        `regime.measure` found before the first step, "epochs": one entry per
        epoch with its loss, validation CCCs where it was validated, speed,
        how many batches had nothing to compare, and the same measures}.

    Raises:
        UserError: the options or the records cannot be used, the workdir is
            not empty and neither `overwrite` nor `resume` is set, another
            training is at work there, or what is there cannot be resumed;
            there is no space for a checkpoint; or others of the cluster do
            not agree, or are gone.
    """
    workdir = files.check_output(
        options.workdir, flag="--workdir", overwrite=True
    )
    # Or a slip in its name would start another training.
    if resume and not workdir.is_dir():
        raise resumption.nothing(workdir)
    alone = contextlib.nullcontext()
    if not cluster or cluster.chief:
        alone = kept_from_others(workdir)
    with alone:
        return _train(workdir, options, overwrite, resume, strategy, cluster)


@contextlib.contextmanager
def kept_from_others(workdir: pathlib.Path) -> Iterator[None]:
    """Makes a workdir, and lets no other training write there meanwhile.

    Raises:
        UserError: one does so.
    """
    remove_if_empty = files.make_folder(workdir)
    try:
        with locks.hold(workdir / f"{files.PARTIAL}lock"):
            yield
    except locks.Busy as error:
        raise UserError(
            f"--workdir={workdir}: another training is at work there; wait "
            "until it has ended, or end it, or name another folder"
        ) from error
    finally:
        remove_if_empty()


def _train(workdir, options, overwrite, resume, strategy, cluster):
    records = validation.read(options)
    validation.check(options, records)
    found = None
    begun = workdirs.read_begun(workdir) if resume else None
    # A training that was killed early leaves an empty folder, or what it would
    # have replaced.
    empty = files.is_empty(workdir)
    anew = empty or (begun and not resumption.changes(begun, options, records))
    if resume and not anew:
        found = resumption.check(workdir, options, records)
        if not found:
            raise UserError(
                f"--resume: {workdir} holds no {workdirs.LAST}, from which the "
                "training would go on; give --overwrite instead to start again"
            )
        card = model_file.read_card(found.path, flag="--workdir")
    else:
        if resume:
            logging.warning(
                "%s holds no checkpoint of this training yet: it starts anew%s",
                workdir,
                ""
                if empty
                else ", and what is there gives way to its first checkpoint; "
                f"to go on with that, remove {workdirs.BEGUN} there",
            )
        card = dataclasses.replace(
            card_of(options), treatment=records.treatment
        )
        if not (overwrite or resume) and (workdir / workdirs.LAST).is_file():
            raise UserError(
                f"--workdir={workdir} is not empty: it holds a training; give "
                "--resume to go on with it, --overwrite to replace it, or name "
                "another folder"
            )
        files.check_output(
            workdir, flag="--workdir", overwrite=overwrite or resume
        )
    if cluster and options.cache_features:
        raise UserError(
            "--cache_features is for one machine, not for several; leave it out"
        )
    if cluster:
        cluster.meet(_facts(options, records, found))
        strategy = cluster.strategy()
    strategy = strategy or default_strategy()
    _set_up_devices(options, strategy)
    flag, size = options.step_windows()
    if rest := size % (replicas := strategy.num_replicas_in_sync):
        share = size // replicas
        logging.warning(
            "--%s=%d is shared as evenly as can be: %d of %d devices have "
            "%d windows of a step, and the others %d; a multiple of %d would "
            "use all alike",
            *(flag, size, rest, replicas, share + 1, share, replicas),
        )
    run = None
    try:
        run = _Run(
            *(options, records, card, strategy, found, cluster),
            write=not cluster or cluster.chief,
        )
        with contextlib.closing(run.watching), run.begun():
            return run.fit()
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
    except tf.errors.InvalidArgumentError as error:
        if not options.jit_compile or "compil" not in error.message:
            raise
        raise UserError(
            f"--jit_compile: XLA does not compile {options.architecture} here "
            f"({error.message.splitlines()[0]}); leave it out"
        ) from error
    except tf.errors.OpError as error:
        if not cluster or "ollective" not in error.message:
            raise
        kept = run.kept() if run else "nothing was trained"
        raise cluster.lost(error, kept) from error


def card_of(options: TrainingOptions) -> model_file.Card:
    """Returns the card of the model that these options train."""
    return model_file.Card(
        architecture=options.network(),
        sequence_length=options.sequence_length,
        tail=options.tail,
        computation={
            name: getattr(options, name)
            for name in ("precision", "jit_compile", "tf32")
        },
    )


def _facts(options, records, found):
    """Returns what must be the same for all workers, as messages have it."""
    flags = [
        flag
        for flag in to_flags(options)
        # Machines may have these in other places.
        if not flag.startswith(("--workdir=", "--records="))
    ]
    devices = len(tf.config.list_physical_devices("GPU"))
    return [
        *flags,
        *(f"records {x.digest[:12]}" for x in (records, *records.added)),
        f"a workdir whose checkpoint is of step {found.state['step']}"
        if found
        else "a workdir without a checkpoint",
        f"affwild_omg {__version__}, TensorFlow {tf.__version__}, Keras "
        f"{keras.__version__}",
        wording.count(devices, "GPU"),
    ]


def _set_up_devices(options, strategy):
    """Sets what devices compute in; raises UserError where they cannot."""
    several = strategy.num_replicas_in_sync > 1
    for flag, asked, why in (
        ("jit_compile", options.jit_compile, "XLA compiles a step for one"),
        (
            "precision=float16",
            options.precision == "float16",
            "Keras looks for an overflow in the gradient of one alone",
        ),
    ):
        if asked and several:
            raise UserError(
                f"--{flag} does not go with "
                f"{strategy.num_replicas_in_sync} devices, because {why}; "
                "leave it out, or let one process have one"
            )
    if options.tf32 and not tf.config.list_physical_devices("GPU"):
        logging.warning("--tf32 changes nothing, because there is no GPU")
    # TensorFlow would use it unasked, where float32 is promised.
    tf.config.experimental.enable_tensor_float_32_execution(options.tf32)


class _Run:
    """The state of a training; `fit` takes it from epoch to epoch."""

    def __init__(
        self,
        options,
        records,
        card,
        strategy,
        resumed=None,
        cluster=None,
        write=False,
    ):
        self.options = options
        self.records = records
        self.card = card
        self.strategy = strategy
        self.cluster = cluster
        self.writes = not cluster or cluster.chief
        self.workdir = remote.path(options.workdir)
        self.targets = card.architecture.targets
        self.level = validation.level_of(options, records)
        self.deciding = None  # keys, None for all
        if options.validation != "all":
            self.deciding = sources.choose_of_records(
                records, self.targets, options.validation
            )
        self.provenance = {
            "options": {
                name: value
                for name, value in dataclasses.asdict(options).items()
                if value is not None
            },
            "records_sha256": records.digest,
            "added_sha256": [other.digest for other in records.added],
            "validation_level": self.level,
        }
        if records.held_out:
            self.provenance["held_out"] = records.held_out
        state = resumed.state if resumed else {}
        self.epochs = state.get("epochs", [])
        self.start = state.get("start")
        self.now = checkpoints.Progress(**state.get("progress", {}))
        # The last checkpoint: its step, when it was written, steps since then.
        self.saved = state.get("step")
        self.saved_at, self.unsaved = time.monotonic(), 0
        self.limits = options.checkpoint_limits()
        self.resumed = resumed
        self.batches = Batches(
            options, records, self.targets, strategy, cluster
        )
        self.replicas = strategy.num_replicas_in_sync
        self.epoch_batches = options.steps_per_epoch or self.batches.of_pass
        # Reports of what was taken from where.
        self.initialisation = state.get("initialisation", [])
        self.probe = self.batches.probe()
        if not resumed:
            with records.reading("train"):
                known = crops.ranges(records.clips("train"))
            self.card = dataclasses.replace(card, crops=known)
        with strategy.scope():
            policy = POLICIES[options.precision]
            self.model = models.build(
                card.architecture, options.seed, dtype=policy
            )
            if not resumed:
                plain = self.model
                if policy != "float32":
                    # In which features are measured that scale weights.
                    plain = models.build(
                        card.architecture, options.seed, dtype="float32"
                    )
                self.initialisation = start.initialise(
                    plain,
                    card.architecture,
                    options,
                    records=records,
                    faces=self.probe["frames"][self.probe["mask"]],
                    label_means=self._label_means(),
                )
                self.model.set_weights(plain.get_weights())
            start.fix_parts(self.model, options, self.initialisation)
            self.optimizer = optimizers.adam(
                *(self.model, options.learning_rate, options.rates()),
                warmup_steps=options.warmup_steps,
                cosine_steps=self._cosine_steps(),
                clip_norm=options.clip_norm / self.replicas,
                weight_decay=options.weight_decay,
                ema=options.ema,
            )
            if options.precision == "float16":
                self.optimizer = keras.optimizers.LossScaleOptimizer(
                    self.optimizer
                )
                self.optimizer.build(self.model.trainable_variables)
            # Only so that the model file holds the optimizer's state.
            self.model.compile(optimizer=self.optimizer)
            if resumed:
                model_file.load_weights(
                    self.model, resumed.path, flag="--workdir"
                )
        network = self.model
        if options.cache_features:
            network = self.batches.cache_features(self.model, card.architecture)
        self.predictor = keras_predictor(network, card, strategy)
        self.step = Step(
            *(network, self.optimizer, strategy, options.loss_level),
            jit_compile=options.jit_compile,
            at_once=self.batches.share,
            whole=self.model,
            **options.loss_settings(self.targets),
        )
        if resumed:
            self.step.set_noise(state["noise"])
        self.plateau = self._plateau()
        self.watching = watching.Watching(
            *(options, self.model, self.optimizer, self.saved), write
        )

    def _plateau(self):
        """Returns what lowers the learning rate after validations, or None."""
        if self.options.schedule != "plateau":
            return None
        plateau = keras.callbacks.ReduceLROnPlateau(
            *("ccc", PLATEAU_FACTOR, self.options.plateau_patience),
            mode="max",
            min_delta=0,
        )
        plateau.set_model(self.model)
        # What it has seen is in the history.
        self.optimizer.learning_rate = self.options.learning_rate
        for entry in self._validated():
            plateau.on_epoch_end(entry["epoch"], {"ccc": _mean_ccc(entry)})
        return plateau

    def _lower_rate(self, entry):
        if not self.plateau:
            return
        before = self.optimizer.learning_rate.numpy()
        self.plateau.on_epoch_end(entry["epoch"], {"ccc": _mean_ccc(entry)})
        rate = self.optimizer.learning_rate.numpy()
        if rate != before:
            logging.info(
                "epoch %d ends a plateau: the learning rate is now %.3g",
                *(entry["epoch"], rate),
            )

    def _cosine_steps(self):
        total = self.options.epochs * self.epoch_batches
        rest = total - self.options.warmup_steps
        if rest < 1:
            raise UserError(
                f"--warmup_steps={self.options.warmup_steps} is no less than "
                f"the {total} steps of --epochs={self.options.epochs}; give "
                "fewer"
            )
        return rest if self.options.schedule == "cosine" else 0

    def _label_means(self):
        # Shuffled ones have the same.
        labels = [clip.labels for clip in self.records.clips("train")]
        columns = [TARGETS.index(target) for target in self.targets]
        return np.nanmean(np.array(labels)[:, columns], axis=0)

    @contextlib.contextmanager
    def begun(self):
        """Notes what will be replaced, in case it is killed in the block."""
        place = self.workdir / workdirs.BEGUN
        if self.writes and self.resumed:
            place.unlink(missing_ok=True)
        elif self.writes and not files.is_empty(self.workdir):
            files.write_json(place, self.provenance)
        try:
            yield
        except (UserError, OSError):  # which would come again
            with contextlib.suppress(OSError):
                last = self.workdir / workdirs.LAST
                # The earlier one's: then nothing was replaced.
                if self.writes and self.saved is None and last.is_file():
                    place.unlink(missing_ok=True)
            raise

    def fit(self):
        if self.cluster:
            self._meet()
        if not self.resumed:
            trained = self.model.trainable_variables
            logging.info(
                "%s: %s parameters, %s of them trained, on %s",
                self.options.architecture,
                f"{self.model.count_params():,}",
                f"{sum(math.prod(variable.shape) for variable in trained):,}",
                wording.count(self.replicas, "device"),
            )
            if self.deciding is not None:
                logging.info(
                    "%d utterances of validation tell the best epoch, whose "
                    "source does not stand in train",
                    len(self.deciding),
                )
            self.start = self._measure().taps
            regime.tell(self.start)
        else:
            self._return_to_checkpoint()
        begin = self.saved_at = time.monotonic()
        before = self._batches()
        if self.resumed and not self._done():
            logging.info(
                "%s goes on after step %d, in epoch %d",
                *(self.workdir, self.saved, len(self.epochs) + 1),
            )
        elif self.resumed:
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
                self._lower_rate(entry)
            found = self._measure()
            entry["taps"] = found.taps
            self.epochs.append(entry)
            self.now = checkpoints.Progress()
            best = self._best_epoch()
            # Before the checkpoint: what follows it is removed in a resumption.
            ccc = best and _mean_ccc(self.epochs[best - 1])
            self.watching.epoch(entry, self.start, ccc, found)
            if (
                self.options.checkpoint_every == EPOCH
                or best == epoch
                or self._done()
                or self._due()
            ):
                self._save()
            speed = (time.monotonic() - begin) / (self._batches() - before)
            left = (self.options.epochs - epoch) * self.epoch_batches
            self._report(entry, speed * left)
        if self.cluster:  # the chief has written all
            self.cluster.agree(self.strategy, [], "")
        return self._summary()

    def _meet(self):
        """Waits until all workers have started alike."""
        variables = [*self.model.weights, *self.optimizer.variables]
        self.cluster.agree(self.strategy, variables, "the weights")
        # The chief has made it by now, unless folders need not be made.
        if not (files.is_remote(self.workdir) or self.workdir.is_dir()):
            raise UserError(
                f"--workdir={self.workdir} is not there on this machine, where "
                f"{self.cluster.name(0)} has made it; it must lie on storage "
                "that all workers see"
            )

    def _batches(self):
        """Returns how many batches were seen since the training began."""
        return len(self.epochs) * self.epoch_batches + int(self.now.batches)

    def _measure(self):
        return regime.measure(
            self.model,
            self.card.architecture,
            self.probe,
            self.options.loss_level,
            **self.options.loss_settings(self.targets),
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

    def _best_epoch(self):
        best = max(self._validated(), key=_mean_ccc, default={})
        return best.get("epoch")

    def _summary(self):
        best = self._best_epoch()
        return {
            "best_epoch": best,
            "best_ccc": _mean_ccc(self.epochs[best - 1]),
            **self.provenance,
            "start": self.start,
            "epochs": self.epochs,
        }

    def _train_epoch(self, epoch):
        now = self.now
        if not now.batches:
            self.step.seed_dropout(self.batches.seed(epoch))
        end = epoch * self.epoch_batches
        bar = progress.bar(
            self.batches.between(
                *(end - self.epoch_batches + now.batches, end, now.batches),
                self.step.is_comparable,
            ),
            description=f"epoch {epoch}/{self.options.epochs}",
            unit="step",
            total=self.epoch_batches,
            initial=now.batches,
            hidden=not self.writes,
        )
        begin = time.perf_counter() - now.seconds
        for batch in bar:
            if self._due():
                now.seconds = time.perf_counter() - begin
                self._save()
                begin = time.perf_counter() - now.seconds
            with self.watching.step(lambda batch=batch: self._number_of(batch)):
                loss, norms, frames, number, overflow = self.step(batch)
            now.loss_sum += loss
            now.frames += frames
            now.batches = number + 1
            now.steps += 1
            now.overflows += tf.cast(overflow, tf.int32)
            self.unsaved += 1
            if self.watching.took(loss, norms, frames, number, overflow):
                self._look()
        self._look()
        seconds = time.perf_counter() - begin
        entry = {
            "loss": float(now.loss_sum) / now.steps if now.steps else None,
            "frames_per_second": float(now.frames) / seconds,
            "skipped_batches": self.epoch_batches - now.steps,
        }
        if self.options.precision == "float16":
            entry["overflows"] = int(now.overflows)
            entry["loss_scale"] = float(self.optimizer.dynamic_scale)
        return entry

    def _number_of(self, batch):
        """Returns the number of a step, counted from 1 over all epochs."""
        own, *_ = self.strategy.experimental_local_results(batch["number"])
        return len(self.epochs) * self.epoch_batches + 1 + int(own[0])

    def _due(self):
        """Tells whether steps or minutes ask for a checkpoint."""
        steps, seconds = self.limits
        late = time.monotonic() - self.saved_at >= seconds
        return self.unsaved >= steps or (late and self.unsaved > 0)

    def kept(self):
        """Returns what is left if it ends here, for messages."""
        # By time, the chief alone knows when it saved.
        return (
            f"{self.workdir} keeps its last checkpoint, if there is one, from "
            "which the same commands with --resume go on"
        )

    def _look(self):
        begin = len(self.epochs) * self.epoch_batches
        if found := self.watching.look(begin):
            batch = self.batches.again(found.step - 1)
            told = found.told(batch, self.options.learning_rate)
            raise UserError(f"{told}; {self._kept()}")

    def _kept(self):
        if not self.writes:
            return self.kept()
        if self.saved is None:
            return "nothing was saved before it"
        epoch, rest = divmod(self.saved, self.epoch_batches)
        if rest:
            return f"{self.workdir} keeps the checkpoint of step {self.saved}"
        return f"{self.workdir} keeps the model of epoch {epoch}"

    def _validate(self):
        batches = self.batches.validation()
        if self.replicas > 1:
            self.step.share_statistics()
        with self._averaged(), self.records.reading("validation"):
            frames = protocol.predict_frames(
                self.predictor.predict,
                batches.as_numpy_iterator(),
                self.targets,
                self.options.sequence_length,
                self.options.tail,
            )
        if fault := watching.fault(frames, self.options.learning_rate):
            raise UserError(f"{fault}; {self._kept()}")
        if self.deciding is not None:
            frames = frames.subset(np.isin(frames.keys, self.deciding))
        nothing = postprocessing.Settings.nothing(self.targets)
        rows = protocol.rows_of(frames, nothing, self.level)
        scores = protocol.score(rows, self.targets, level=self.level)
        epoch = len(self.epochs) + 1
        self.watching.agreement(epoch, rows, scores, self.targets)
        return scores.to_dict()

    @contextlib.contextmanager
    def _averaged(self):
        """Gives the model its averaged weights for a while, if it has any."""
        # Before the first step the averages are 0.
        if not (self.options.ema and self.optimizer.iterations.numpy()):
            yield
            return
        weights = self.model.trainable_variables
        own = [weight.numpy().copy() for weight in weights]
        try:
            self.optimizer.finalize_variable_values(weights)
            yield
        finally:
            for weight, value in zip(weights, own, strict=True):
                weight.assign(value)

    def _save(self):
        self._look()
        step = self._batches()
        state = self.provenance | {
            "start": self.start,
            "initialisation": self.initialisation,
            "epochs": self.epochs,
            "step": step,
            "progress": self.now.to_dict(),
            "noise": self.step.noise(),
        }
        try:
            if self.writes:
                checkpoints.write(
                    *(self.workdir, self.model, self.card, state),
                    before=self.saved,
                    keep=self.options.keep_checkpoints,
                )
            self.saved, self.unsaved = step, 0
            self.watching.saved(step)
            self._follow_checkpoint()
        except ConnectionError:  # where space does not help
            raise
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            way_out = "make space" if full else "mend that"
            if self.saved is None:
                way_out += ", or name another folder"
            else:
                way_out += f", and --resume goes on from step {self.saved}"
            raise UserError(
                f"--workdir={self.workdir}: step {step} cannot be saved "
                f"({error.strerror or error}); {way_out}"
            ) from error
        self.saved_at = time.monotonic()

    def _follow_checkpoint(self):
        """Writes the files that follow from the checkpoint."""
        if not self.writes:
            return
        best = self._best_epoch()
        with self._averaged():
            checkpoints.set_best(
                *(self.workdir, self.model, self.card, best),
                current=best == len(self.epochs) and not self.now.batches,
                keep=self.options.keep_checkpoints,
            )
        flags = "".join(f"{flag}\n" for flag in to_flags(self.options))
        files.write_text(self.workdir / workdirs.FLAGFILE, flags)
        if self.initialisation:
            files.write_json(
                self.workdir / workdirs.INITIALISATION, self.initialisation
            )
        if best is None:
            files.remove(self.workdir / workdirs.HISTORY)
        else:
            files.write_json(self.workdir / workdirs.HISTORY, self._summary())

    def _return_to_checkpoint(self):
        """Makes the workdir what it was when its checkpoint was written."""
        if not self.writes:
            return
        last = self.workdir / workdirs.LAST
        if self.resumed.path != last:
            if last.is_file():
                logging.warning(
                    "%s is damaged; the training goes on from the checkpoint "
                    "before it, of step %d",
                    *(last, self.saved),
                )
            self.resumed.path.replace(last)
        self._follow_checkpoint()

    def _report(self, entry, seconds_left):
        if not self.writes:
            return
        told = "no validation"
        if "validation" in entry:
            told = f"validation CCC by {self.level}: " + ", ".join(
                f"{x} {wording.number(entry['validation'][x]['ccc'])}"
                for x in self.targets
            )
        left = ""
        if not self._done():
            left = f"; {wording.duration(seconds_left)} to epoch "
            left += str(self.options.epochs)
        logging.info(
            "epoch %d: loss %s, %s, %.0f frames/s%s",
            entry["epoch"],
            wording.number(entry["loss"]),
            told,
            entry["frames_per_second"],
            left,
        )
        if entry["skipped_batches"]:
            logging.warning(
                "batches of epoch %d left out, because the labels in them are "
                "all equal, or there are none: %d",
                *(entry["epoch"], entry["skipped_batches"]),
            )
        if entry.get("overflows"):
            logging.warning(
                "steps of epoch %d that moved nothing, because their gradient "
                "did not fit into float16: %d; the loss is now scaled by %g",
                *(entry["epoch"], entry["overflows"], entry["loss_scale"]),
            )


def _mean_ccc(entry):
    return entry["validation"]["mean_ccc"]
