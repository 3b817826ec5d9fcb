"""The batches of a training: which windows each has, on which replica."""

import hashlib
import itertools
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from affwild_omg.cli.errors import UserError
from affwild_omg.data import augmentation, mixing, pipeline, service
from affwild_omg.data.features import Cache
from affwild_omg.data.manifest import Manifest
from affwild_omg.nets import models, parts
from affwild_omg.nets.architectures import Architecture, Fusion
from affwild_omg.paper.task import CROP_SIZE, TARGETS
from affwild_omg.training.cluster import Cluster
from affwild_omg.training.options import TrainingOptions
from affwild_omg.training.step import is_comparable


class Batches:
    """The windows of train in the order of a training, and of validation.

    A pass holds each window of train once, unless corpora have shares; batches
    are counted from 0 since the training began.

    Attributes:
        of_pass: batches of a pass.
        share: windows that a replica takes at once.
    """

    def __init__(
        self,
        options: TrainingOptions,
        records: Manifest,
        targets: tuple[str, ...],
        strategy: tf.distribute.Strategy,
        cluster: Cluster | None,
    ):
        """Counts the windows.

        Args:
            options: of the training.
            records: of the training.
            targets: of the network.
            strategy: among whose replicas a batch is shared.
            cluster: whose workers read their own parts alone; None for one.
        """
        self._options, self._records = options, records
        self._strategy, self._cluster = strategy, cluster
        self._columns = [TARGETS.index(target) for target in targets]
        self._labels = dict.fromkeys(("train", "validation"))
        if options.shuffle_labels:
            for split in self._labels:
                labels = {x.key: x.labels for x in records.clips(split)}
                self._labels[split] = _permuted(labels, options.seed)
        self._features = None
        how = (options.sequence_length, options.tail, options.stride)
        self._corpora = [pipeline.count(x, *how) for x in records.corpora()]
        self._windows = sum(self._corpora)
        self._flag, self._size = options.step_windows()
        self.of_pass = -(-self._windows // self._size)
        self._replicas = strategy.num_replicas_in_sync
        self.share = -(-options.batch_size // self._replicas)

    def probe(self) -> dict[str, np.ndarray]:
        """Returns the first windows that can be trained on, of a replica.

        Raises:
            UserError: there are none.
        """
        with self._records.reading("train"):
            seed = self._options.seed
            order = np.random.default_rng(seed).permutation(self._windows)
            batches = list(self._train_batches(order, seed).take(1))
        if not batches:
            raise UserError(
                f"--records={self._options.records}: in each batch of "
                f"--{self._flag}={self._size} all labels that "
                f"--loss_level={self._options.loss_level} compares are equal, "
                "so that CCC is 0 whatever is predicted; a larger batch may "
                "have others"
            )
        # Features are measured on them: those with faces come first.
        faces = batches[0]["mask"].numpy().any(axis=1)
        rows = np.argsort(~faces, kind="stable")[: max(2, self.share)]
        return keras.tree.map_structure(
            lambda values: values.numpy()[rows], batches[0]
        )

    def between(
        self, at: int, end: int, number: int, comparable: Callable
    ) -> Iterator:
        """Yields distributed batches, but for those without a gradient.

        Args:
            at: the first.
            end: the one behind the last.
            number: of the first in its epoch, from which theirs are counted.
            comparable: tells of a distributed batch whether it has any, where
                a worker cannot tell it of its own part.
        """
        while at < end:
            passed, first = divmod(at, self.of_pass)
            count = min(self.of_pass - first, end - at)
            part = (self.order(passed + 1), self.seed(passed + 1))
            part += (first, count, number)
            if self._cluster:
                shares = self._strategy.distribute_datasets_from_function(
                    lambda _, part=part: self._own_batches(*part)
                )
                batches = filter(comparable, shares)
            else:
                dataset = self._train_batches(*part)
                batches = self._strategy.experimental_distribute_dataset(
                    dataset
                )
            with self._records.reading("train"):
                yield from batches
            at += count
            number += count

    def again(self, at: int) -> dict[str, np.ndarray]:
        """Reads a batch once more, with its keys."""
        number, first = divmod(at, self.of_pass)
        part = (self.order(number + 1), self.seed(number + 1), first, 1)
        batches = self._train_batches(*part, keys=True)
        with self._records.reading("train"):
            return next(batches.as_numpy_iterator())

    def validation(self) -> tf.data.Dataset:
        """Builds the dataset of the batches of validation."""
        return pipeline.batches(
            self._dataset("validation"), self.share * self._replicas
        )

    def cache_features(
        self, model: keras.Model, network: Architecture | Fusion
    ) -> keras.Model:
        """Computes what a fixed CNN makes of all frames, unless it is there.

        Batches hold it from here on, in the place of frames.

        Args:
            model: whose CNN it is.
            network: what it is.

        Returns:
            What of the model takes such batches.

        Raises:
            UserError: it is a fusion, or the cache cannot be filled.
        """
        if isinstance(network, Fusion):
            raise UserError(
                "--cache_features is for a network alone, and "
                f"{self._options.architecture} is a fusion; leave it out"
            )
        with self._strategy.scope():
            cnn, rest = models.split(model, network)
        sizes = {name: x.shape[-1] for name, x in cnn.output.items()}
        how = (sizes, self._options.precision, self._options.tf32)
        key = hashlib.sha256(repr(how).encode())
        for name, weight in parts.named_weights(cnn).items():
            key.update(name.encode() + weight.numpy().tobytes())
        for records in (self._records, *self._records.added):
            key.update(records.digest.encode())
        run = tf.function(
            lambda images: cnn(
                {
                    "frames": images[tf.newaxis],
                    "mask": tf.ones(tf.shape(images)[:1], bool)[tf.newaxis],
                },
                training=False,
            ),
            input_signature=[
                tf.TensorSpec([None, CROP_SIZE, CROP_SIZE, 3], tf.uint8)
            ],
        )
        cache = Cache(
            self._options.cache_features,
            key.hexdigest()[:16],
            sizes,
        )
        clips = [self._records.clips(x) for x in ("train", "validation")]
        with self._records.reading("train and validation"):
            cache.fill(
                itertools.chain(*clips),
                lambda images: {
                    name: x[0].numpy() for name, x in run(images).items()
                },
            )
        self._features = cache
        return rest

    def seed(self, number: int) -> int:
        """Returns the seed of a pass, or of an epoch, which count from 1.

        Each has its own, so that a resumed training sees the windows and the
        dropout that the whole one would have.
        """
        return self._options.seed * 100_003 + number

    def _dataset(self, split, order=None, **how):
        return pipeline.windows(
            self._records.clips(split),
            sequence_length=self._options.sequence_length,
            tail=self._options.tail,
            stride=self._options.stride if split == "train" else 0,
            order=order,
            labels=self._labels[split],
            features=self._features,
            **how,
        )

    def order(self, number: int) -> np.ndarray:
        """Returns the numbers of a pass's windows; passes count from 1."""
        shares = self._options.shares()
        if shares:
            return mixing.mixed(
                *(self._corpora, shares, self._options.seed, number - 1)
            )
        random = np.random.default_rng(self.seed(number))
        return random.permutation(self._windows)

    def _train_batches(
        self, order, seed, first=0, count=-1, number=0, keys=False
    ):
        """Builds the dataset of a pass's batches, but for useless ones.

        Args:
            order: of the pass's windows.
            seed: of what changes in them.
            first: number of the first batch.
            count: how many there are, with useless ones; -1: all that follow.
            number: of the first batch in its epoch.
            keys: give the windows' keys, too, which no GPU takes.
        """

        def useful(batch):
            return is_comparable(
                batch["labels"], batch["mask"], self._options.loss_level
            )

        end = self.of_pass if count < 0 else first + count
        numbers = np.arange(
            *(
                pipeline.windows_before(x, self._windows, self._size)
                for x in (first, end)
            )
        )
        windows = self._train_windows(order, seed, numbers)
        batches = pipeline.batches(
            windows,
            self._size,
            evenly=True,
            replicas=self._replicas,
            at_once=self.share,
        )
        return (
            batches.enumerate(number)
            .map(lambda i, batch: self._used(i, batch, keys))
            .filter(useful)
        )

    def _own_batches(self, order, seed, first, count, number):
        """Builds the dataset of this worker's part of batches, one a replica.

        Useless ones stay, since that depends on the parts of others, too.
        """
        workers = len(self._cluster.workers)
        own = np.split(np.arange(self._replicas), workers)[self._cluster.index]
        dealt = pipeline.deal(
            *(self._windows, self._size, self._replicas, own, self.share)
        )
        dealt = dealt[first : first + count]
        windows = self._train_windows(order, seed, dealt[dealt >= 0])
        return (
            pipeline.shares(windows, dealt)
            .enumerate()
            .map(lambda i, part: self._used(number + i // len(own), part))
        )

    def _train_windows(self, order, seed, numbers):
        def made(numbers, elsewhere=False):
            windows = self._dataset(
                "train", order[numbers], numbers=numbers, elsewhere=elsewhere
            )
            if kinds := self._options.augment:
                windows = augmentation.augment(windows, kinds, seed)
            return windows

        if address := self._options.data_service:
            windows = made(numbers, elsewhere=True)
            return service.collected(windows, address, numbers, made)
        return made(numbers)

    def _used(self, number, batch, keys=False):
        """Returns what a step uses of a batch, and the batch's number."""
        labels = tf.gather(batch["labels"], self._columns, axis=-1)
        names = {"frames", "landmarks", "mask"} | ({"key"} if keys else set())
        if self._features:
            names |= self._features.sizes.keys()
        inputs = {name: batch[name] for name in batch.keys() & names}
        # Replicas share a batch, by its first dimension.
        number = tf.fill(tf.shape(labels)[:1], number)
        return inputs | {"labels": labels, "number": number}


def _permuted(labels, seed):
    """Swaps the labels of each target among the clips that have one."""
    values = np.array(list(labels.values()))
    for column in values.T:
        known = np.flatnonzero(np.isfinite(column))
        order = np.random.default_rng(seed).permutation(known)
        column[known] = column[order]
    return dict(zip(labels, values, strict=True))
