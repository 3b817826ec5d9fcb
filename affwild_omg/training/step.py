"""A step of training, on one device or on several that share a batch."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from affwild_omg.nets import losses, parts

# Between the counts of the noise of two replicas, more than an epoch's steps.
# In the seed, Keras takes 2**32 for 4: that is the noise of another epoch.
APART = 2**20


def is_comparable(
    labels: tf.Tensor, mask: tf.Tensor, loss_level: str, **reduction
) -> tf.Tensor:
    """Tells whether a batch has any gradient.

    A step without one would still move the weights, by Adam's momentum.

    Args:
        labels: [batch, time, targets], NaN where there is none.
        mask: [batch, time], bool.
        loss_level: see `losses.concordance_loss`.
        **reduction: `losses.comparable`'s, over replicas that share the batch.

    Returns:
        A bool.
    """
    counts = losses.counted(labels, mask)
    rows = losses.rows(labels, counts, loss_level)
    return tf.reduce_any(losses.comparable(*rows, **reduction))


class Step:
    """Trains a model by a batch at a time."""

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        strategy: tf.distribute.Strategy,
        loss_level: str,
        jit_compile: bool = False,
        at_once: int | None = None,
        whole: keras.Model | None = None,
        **loss_settings,
    ):
        """Makes a step.

        Args:
            model: of the strategy's scope.
            optimizer: built for the model's trainable variables; Keras'
                LossScaleOptimizer where they compute in float16. One that
                clips gradients clips the replicas' mean.
            strategy: where to compute.
            loss_level: see `losses.concordance_loss`.
            jit_compile: compile it by XLA, on one device.
            at_once: windows that a replica takes at once, of which its part of
                a batch is a multiple; None for all of them.
            whole: the model of whose layers this one is a part, if it is, with
                all that is trained: variables are in its order, and the noise
                is its own.
            **loss_settings: other arguments of the loss.
        """
        self._model = model
        self._optimizer = optimizer
        self._strategy = strategy
        self._at_once = at_once
        self._whole = whole or model
        self._loss_settings = {"level": loss_level} | loss_settings
        self._scales = isinstance(
            optimizer, keras.optimizers.LossScaleOptimizer
        )
        self._train = self._on_replica
        if jit_compile:
            self._train = tf.function(self._on_replica, jit_compile=True)

    def seed_dropout(self, seed: int) -> None:
        """Sets the noise of all steps from here on."""
        layers = enumerate(parts.named_layers(self._whole))
        self.set_noise({name: [seed % 2**32, i] for i, name in layers})

    def set_noise(self, noise: Mapping[str, Sequence[int]]) -> None:
        """Sets the noise to that of another step.

        Args:
            noise: {layer: [seed, count]}, such as `noise` returns.
        """
        shared = self._strategy.experimental_distribute_values_from_function
        replicas = self._strategy.experimental_local_results(
            shared(lambda context: context.replica_id_in_sync_group)
        )
        for name, states in self._noise_states():
            # Each replica has its own frames, and needs its own noise.
            for replica, own in zip(replicas, states, strict=True):
                seed, count = noise[name]
                key = [seed, count + replica * APART]
                own.assign(tf.constant(key, own.dtype))

    def noise(self) -> dict[str, list[int]]:
        """Returns what the noise of the next step comes from.

        That of the process's first replica; to be asked for where this is the
        first of all, from which those of others follow.
        """
        return {
            name: states[0].numpy().tolist()
            for name, states in self._noise_states()
        }

    def _noise_states(self):
        for name, layer in parts.named_layers(self._whole).items():
            if isinstance(layer, keras.layers.Dropout) and layer.rate:
                state = layer.seed_generator.state.value
                yield name, self._strategy.experimental_local_results(state)

    @tf.function
    def __call__(self, batch: Mapping) -> list[tf.Tensor]:
        """Trains the model by a batch.

        Args:
            batch: of the strategy's distributed dataset: the model's inputs,
                "labels" [batch, time, targets], and "number" [batch], the
                batch's own in each place.

        Returns:
            Its loss before the step, the norms of the gradients of the
            trainable variables [variables] (the sums of the replicas' norms),
            the number of frames that counted, the batch's number, and whether
            the optimizer left the step out because the scaled gradient
            overflowed; then the norms are 0.
        """
        results = self._strategy.run(self._train, args=(batch,))
        # The same on each replica already: any will do.
        return [
            self._strategy.experimental_local_results(result)[0]
            for result in results
        ]

    def _parts(self, values):
        """Splits the first dimension by windows that are taken at once."""
        return keras.tree.map_structure(
            lambda x: tf.reshape(x, [-1, self._at_once, *x.shape[1:]]), values
        )

    def _predictions(self, parts_of):
        """Predicts part by part, and leaves the model as it is.

        What moves in a step, noise and statistics of normalisation, is handed
        from part to part, so that the next pass repeats it.
        """
        trainable = self._model.trainable_variables

        def predict(before, inputs):
            _, moving = before
            return self._model.stateless_call(
                trainable, moving, inputs, training=True
            )

        shape = parts_of["mask"].shape[1:] + self._model.output_shape[-1:]
        moving = [
            tf.convert_to_tensor(x.value)
            for x in self._model.non_trainable_variables
        ]
        predictions, _ = tf.scan(
            *(predict, parts_of, (tf.zeros(shape), moving)),
            parallel_iterations=1,
        )
        return tf.reshape(predictions, [-1, *shape[1:]])

    def _gradients(self, parts_of, outer):
        """Sums the gradients of parts, given those of their predictions."""
        variables = self._whole.trainable_variables

        def add(sums, part):
            inputs, own = part
            with tf.GradientTape() as tape:
                predictions = self._model(inputs, training=True)
            found = tape.gradient(predictions, variables, own)
            return [x + y for x, y in zip(sums, found, strict=True)]

        return tf.foldl(
            *(add, (parts_of, outer), [tf.zeros(x.shape) for x in variables]),
            parallel_iterations=1,
        )

    @tf.function
    def is_comparable(self, batch: Mapping) -> tf.Tensor:
        """Tells whether a distributed batch has any gradient; all know."""
        found = self._strategy.run(self._is_comparable, args=(batch,))
        return self._strategy.experimental_local_results(found)[0]

    def _is_comparable(self, batch):
        return is_comparable(
            batch["labels"],
            batch["mask"],
            self._loss_settings["level"],
            reduce=_over_replicas,
        )

    @tf.function
    def share_statistics(self) -> None:
        """Gives all replicas the first one's statistics of normalisation.

        Each computes its own in training; those of the first are saved.
        """
        self._strategy.run(self._share_statistics)

    def _share_statistics(self):
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        for layer in parts.named_layers(self._model).values():
            if not isinstance(layer, keras.layers.BatchNormalization):
                continue
            for weight in (layer.moving_mean, layer.moving_variance):
                value = tf.convert_to_tensor(weight)
                own = tf.where(replica == 0, value, tf.zeros_like(value))
                weight.assign(_over_replicas(own))

    def _on_replica(self, batch):
        context = tf.distribute.get_replica_context()
        replicas = context.num_replicas_in_sync

        def loss_of(predictions):
            infinite = tf.math.reduce_any(~tf.math.is_finite(predictions))
            loss = losses.concordance_loss(
                *(batch["labels"], predictions, batch["mask"]),
                **self._loss_settings,
                reduce=_over_replicas,
            )
            # Every replica's loss is the whole batch's. The gradient of
            # all_reduce sums over the replicas, and so does the optimizer.
            scaled = self._optimizer.scale_loss(loss / replicas)
            return loss, scaled, tf.cast(infinite, loss.dtype)

        inputs = {x.name: batch[x.name] for x in self._model.inputs}
        variables = self._whole.trainable_variables
        if self._at_once in (None, len(batch["mask"])):
            with tf.GradientTape() as tape:
                loss, scaled, infinite = loss_of(
                    self._model(inputs, training=True)
                )
            gradients = tape.gradient(scaled, variables)
        else:
            # CCC is no sum over windows, so that the gradients of parts do not
            # add up to its own. By the chain rule, those of their predictions
            # do: the first pass finds these predictions, the second goes back
            # through each part from the loss of all.
            parts_of = self._parts(inputs)
            predictions = self._predictions(parts_of)
            with tf.GradientTape() as tape:
                tape.watch(predictions)
                loss, scaled, infinite = loss_of(predictions)
            outer = self._parts(tape.gradient(scaled, predictions))
            gradients = self._gradients(parts_of, outer)
        if self._optimizer.global_clipnorm and replicas > 1:
            # It clips before it sums: all replicas must clip alike.
            gradients = context.all_reduce(
                tf.distribute.ReduceOp.MEAN, gradients
            )
        overflow = tf.constant(False)
        if self._scales:  # which the step may change
            scale = tf.identity(self._optimizer.dynamic_scale.value)
        self._optimizer.apply_gradients(zip(gradients, variables, strict=True))
        frames = tf.math.count_nonzero(batch["mask"], dtype=tf.float32)
        norms = [tf.linalg.global_norm([gradient]) for gradient in gradients]
        sums = _over_replicas(tf.stack([*norms, frames, infinite]))
        norms, frames, infinite = sums[:-2], sums[-2], sums[-1]
        if self._scales:
            # A lower scale helps neither where nothing is left to lower, nor
            # where the predictions already are not finite.
            overflow = (
                ~tf.reduce_all(tf.math.is_finite(norms))
                & (scale > 1)
                & (infinite == 0)
            )
            norms = tf.where(overflow, 0.0, norms / scale)
        return loss, norms, frames, batch["number"][0], overflow


def _over_replicas(sums):
    """Sums a tensor over all replicas, on each of them."""
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return sums
    return context.all_reduce(tf.distribute.ReduceOp.SUM, sums)
