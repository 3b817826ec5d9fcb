"""What can be watched of a training: TensorBoard's files, and its end in NaN.

An event file holds what lies between two checkpoints, and its name ends with
the step of the first: a training that goes on from a checkpoint removes what a
killed one wrote after it, so that no step has two values. Before the first
checkpoint an earlier training in the workdir has not given way yet, and the
files lie in a folder whose name marks it as unfinished.
"""

import contextlib
import dataclasses
import io
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from absl import logging
from tensorboard.plugins.graph import keras_util
from tensorboard.plugins.histogram import metadata as histograms
from tensorboard.plugins.hparams import api as hparams

from affwild_omg import figures
from affwild_omg.cli.errors import listed
from affwild_omg.cli.options import to_flag
from affwild_omg.evaluation import protocol
from affwild_omg.nets import parts
from affwild_omg.paper.task import TARGETS
from affwild_omg.scoring.frames import Frames
from affwild_omg.storage import files, remote
from affwild_omg.training.options import TrainingOptions
from affwild_omg.training.regime import Regime
from affwild_omg.weights import workdir as workdirs

BEST = "validation/best_mean_ccc"  # so far; the last is HParams' metric
BUCKETS = 30  # of a histogram, as TensorBoard's own have
# Steps from one look at what they give to the next: each waits for the device.
LOOK_EVERY = 10
LARGEST = 3  # gradients that the end of a training names


class Divergence(NamedTuple):
    """A step whose loss or gradient is not finite.

    Attributes:
        model: that is trained.
        step: counted from 1.
        loss: of the step.
        norms: of its gradients, [variables].
        before: those of the step before; None where they are not known.
    """

    model: keras.Model
    step: int
    loss: float
    norms: np.ndarray
    before: np.ndarray | None

    def told(
        self, batch: Mapping[str, np.ndarray], learning_rate: float
    ) -> str:
        """Says what is not finite, and what may help.

        Args:
            batch: of the step, with "key" of its windows.
            learning_rate: of the training.
        """
        keys = np.array([key.decode() for key in batch["key"]])
        # Cached features, in the place of frames, are finite.
        for name in sorted(batch.keys() & {x.name for x in self.model.inputs}):
            values = batch[name].reshape(len(keys), -1)
            odd = sorted({*keys[~np.isfinite(values).all(axis=1)]})
            if odd:
                return (
                    f"the gradient of step {self.step} is not finite, because "
                    f"{name} of {listed(odd)} are not; prepare these again"
                )
        named = parts.named_weights(self.model).items()
        names = {id(weight): name for name, weight in named}
        names = [names[id(x)] for x in self.model.trainable_variables]
        bad = np.flatnonzero(~np.isfinite(self.norms))
        keys = sorted({*keys} - {""})
        what, found = "loss", [f"the clips are {listed(keys)}"]
        if np.isfinite(self.loss):
            what = "gradient"
            found.append(
                f"the loss, {self.loss:.3g}, is; the gradient is not in "
                f"{listed([names[i] for i in bad])}"
            )
        if self.before is not None:
            largest = np.argsort(-self.before)[:LARGEST]
            found.append(
                "the largest gradients before it are "
                + listed([f"{names[i]} {self.before[i]:.3g}" for i in largest])
            )
        return (
            f"the {what} of step {self.step} is not finite ({'; '.join(found)})"
            f"; a --learning_rate lower than {learning_rate:g} may keep it so"
        )


def fault(frames: Frames, learning_rate: float) -> str | None:
    """Says which predictions of validation are not finite, if some are."""
    pairs = zip(frames.values, frames.mask, strict=True)
    finite = np.array([np.isfinite(x[mask]).all() for x, mask in pairs])
    if finite.all():
        return None
    way_out = "prepare these again, if their landmarks are not"
    if not finite.any():
        way_out = f"a --learning_rate lower than {learning_rate:g} may help"
    bad = listed([frames.keys[i] for i in np.flatnonzero(~finite)])
    return f"predictions of {bad} in validation are not finite; {way_out}"


class Watching:
    """Looks at the steps of a training, and writes for TensorBoard.

    Steps are batches since the training began, left out ones too; those of
    scalars that begin with "step/" are such, those of all else are epochs.
    """

    def __init__(
        self,
        options: TrainingOptions,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        saved: int | None,
        write: bool,
    ):
        """Removes what a killed training wrote behind its checkpoint.

        Args:
            options: of the training.
            model: that is trained.
            optimizer: of the model.
            saved: step of the checkpoint that the training goes on from; None
                for a new one.
            write: whether to write anything; looks are taken in any case.
        """
        self._options, self._model = options, model
        self._optimizer, self._write = optimizer, write
        self._saved = saved or 0
        # What steps gave that were not looked at yet, and norms before them.
        self._unseen, self._norms = [], None
        self._since = time.perf_counter()
        self._writer = None
        self._profiling = False
        self._to_profile = options.profiled() if write else ()
        workdir = remote.path(options.workdir)
        self._folder = workdir / workdirs.EVENTS
        self._unfinished = workdir / f"{files.PARTIAL}{workdirs.EVENTS}"
        self._settled = saved is not None
        if not write:
            return
        if self._settled and not any(self._folder.glob(workdirs.EVENT_FILES)):
            self._settle()  # a kill came between the checkpoint and this
        files.remove(self._unfinished)
        if self._settled:
            for file in self._folder.glob(f"{workdirs.EVENT_FILES}.after_*"):
                if int(file.name.rpartition("_")[2]) >= saved:
                    file.unlink()

    def saved(self, step: int) -> None:
        """Ends an event file, because the training was saved."""
        self._saved, self._since = step, time.perf_counter()
        if self._writer:
            with remote.errors(self._folder):
                self._writer.close()
            self._writer = None
        if self._write and not self._settled:
            self._settle()

    def _place(self):
        return self._folder if self._settled else self._unfinished

    def _settle(self):
        self._settled = True
        for file in files.within(self._unfinished):  # a profile's, too
            place = self._folder / file.relative_to(self._unfinished)
            place.parent.mkdir(parents=True, exist_ok=True)
            file.replace(place)
        files.remove(self._unfinished)

    def close(self) -> None:
        """Ends the event file, and a profile that is under way."""
        self._end_profile()
        if self._writer:
            with remote.errors(self._folder):
                self._writer.close()

    @contextlib.contextmanager
    def _writing(self):
        """Makes TensorBoard's writer, opened if need be, the one in use."""
        with remote.errors(self._folder):
            if not self._writer:
                self._writer = tf.summary.create_file_writer(
                    str(self._place()),
                    filename_suffix=f".after_{self._saved:09}",
                )
                if not self._saved:
                    with self._writer.as_default(step=0):
                        self._write_options()
                        _write_graph(self._model)
            with self._writer.as_default():
                yield
            self._writer.flush()

    def _write_options(self):
        """Writes HParams' part: what must be the same when it is resumed."""
        free, values = self._options.free(), {}
        for field in dataclasses.fields(self._options):
            value = getattr(self._options, field.name)
            if isinstance(value, list | tuple):
                _, _, value = to_flag(field.name, value).partition("=")
            if field.name not in free:
                values[field.name] = value
        hparams.hparams_config(
            [hparams.HParam(name) for name in values],
            [hparams.Metric(BEST, display_name="best validation CCC")],
        )
        known = {k: value for k, value in values.items() if value is not None}
        # Or two workdirs of the same options would be one row.
        hparams.hparams(known, trial_id=self._options.workdir)

    @contextlib.contextmanager
    def step(self, number: Callable[[], int]) -> Iterator[None]:
        """Profiles the step that the block takes, if it was chosen.

        Args:
            number: returns that of the step, for which a device may have to be
                waited for; it is asked only while a profile is to come.
        """
        if not self._to_profile:
            yield
            return
        (first, last), at = self._to_profile, number()
        if first <= at <= last and not self._profiling:
            tf.profiler.experimental.start(str(self._place()))
            self._profiling = True
        with tf.profiler.experimental.Trace("train", step_num=at, _r=1):
            yield
        if at >= last:
            self._end_profile()

    def _end_profile(self):
        if self._profiling:
            tf.test.experimental.sync_devices()
            tf.profiler.experimental.stop()
            if self._settled:  # since it began, perhaps
                self._settle()
            logging.info("%s has the profile of steps", self._folder)
        elif self._to_profile:
            logging.warning(
                "--profile_steps=%d,%d: none of these steps was taken, so that "
                "there is no profile",
                *self._to_profile,
            )
        self._profiling, self._to_profile = False, ()

    def took(self, *results: tf.Tensor) -> bool:
        """Keeps what a `Step` returned; tells whether to look at it now."""
        self._unseen.append(results)
        return len(self._unseen) == LOOK_EVERY

    def look(self, before: int) -> Divergence | None:
        """Looks at the steps since the last look, and writes of them.

        Args:
            before: steps before the epoch.

        Returns:
            The first that is not finite; a CCC of NaN would pass for one of 0.
        """
        if not self._unseen:
            return None
        losses, norms, frames, numbers, overflows = (
            tf.stack(x).numpy() for x in zip(*self._unseen, strict=True)
        )
        self._unseen.clear()
        steps = before + 1 + numbers
        for step in zip(steps.tolist(), losses, norms, strict=True):
            if not np.isfinite([step[1], *step[2]]).all():
                return Divergence(self._model, *step, self._norms)
            if step[2].any():
                self._norms = step[2]
        seconds = time.perf_counter() - self._since
        self._since = time.perf_counter()
        if not self._write:
            return None
        scalars = {
            "loss": losses.mean(),
            "learning_rate": self._optimizer.learning_rate.numpy(),
            "frames_per_second": frames.sum() / seconds,
        }
        if not overflows.all():
            sizes = np.linalg.norm(norms[~overflows], axis=1)
            scalars["gradient_norm"] = sizes.mean()
        if self._options.loss == "ccc":
            scalars["batch_ccc"] = 1 - losses.mean()
        with self._writing():
            for name, value in scalars.items():
                tf.summary.scalar(f"step/{name}", value, steps[-1])
        return None

    def agreement(
        self,
        epoch: int,
        rows: protocol.Rows,
        scores: protocol.Scores,
        targets: Sequence[str],
    ) -> None:
        """Draws what was predicted against what is true on validation."""
        if not self._write:
            return
        picture = io.BytesIO()
        figures.scatter(
            *(picture, rows.labels, rows.predictions, targets, scores.cccs),
            noun=scores.level,
            dpi=80,
        )
        picture = tf.io.decode_png(picture.getvalue(), channels=3)
        with self._writing():
            tf.summary.image("validation/scatter", picture[tf.newaxis], epoch)

    def epoch(
        self, entry: Mapping, start: Mapping, best: float | None, now: Regime
    ) -> None:
        """Writes what is known after an epoch.

        Args:
            entry: of the epoch, as `loop.train` returns it.
            start: what `regime.measure` found before the first.
            best: mean CCC of the best epoch so far; None without any.
            now: what `regime.measure` finds now.
        """
        if not self._write:
            return
        number, scalars = entry["epoch"], {}
        for name in ("loss", "frames_per_second"):
            if entry[name] is not None:
                scalars[name] = entry[name]
        if scores := entry.get("validation"):
            scalars["validation/mean_ccc"] = scores["mean_ccc"]
            for target in TARGETS:
                if target in scores:
                    scalars[f"validation/ccc_{target}"] = scores[target]["ccc"]
            scalars[BEST] = best
        values = dict(now.values)
        for name, weight in parts.named_weights(self._model).items():
            if weight.trainable and len(weight.shape) > 1:  # no bias
                values[f"weights/{name}"] = weight.numpy()
        with self._writing():
            for name, value in scalars.items():
                tf.summary.scalar(name, value, number)
            for name, own in values.items():
                _write_histogram(name, own, number)
            for at, taps in ((0, start), (number, entry["taps"])):
                for tap, found in taps.items() if at or number == 1 else ():
                    for name, value in found.items():
                        tf.summary.scalar(f"{name}/{tap}", value, at)
        self._since = time.perf_counter()


def _write_histogram(name, values, step):
    """Writes a histogram, in a twentieth of the time of TensorBoard's own."""
    values = values[np.isfinite(values)]
    counts, edges = np.histogram(values, BUCKETS)
    tf.summary.write(
        name,
        tf.constant(np.stack([edges[:-1], edges[1:], counts], axis=1)),
        step,
        histograms.create_summary_metadata(None, None),
    )


def _write_graph(model):
    """Writes the graph of layers, as one of operations.

    TensorBoard shows such a graph at once, and a Keras model behind an error.
    """
    # It knows no policies, but the types that they compute in.
    plain = json.loads(model.to_json(), object_hook=_without_policy)
    layers = keras_util.keras_model_to_graph_def(plain)
    graph = tf.compat.v1.GraphDef.FromString(layers.SerializeToString())
    for node in graph.node:
        node.op = node.attr["keras_class"].s.decode()
    tf.summary.graph(graph)


def _without_policy(config):
    if config.get("class_name") != "DTypePolicy":
        return config
    return config["config"]["name"].removeprefix("mixed_")
