"""Layers that Keras lacks, or that behave differently there."""

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable("affwild_omg")
class FoldTime(keras.layers.Layer):
    """Reshapes [batch, time, ...] to [batch * time, ...].

    It replaces `TimeDistributed`, which unrolls the loop in Python when time
    is static.
    """

    def call(self, inputs):
        return ops.reshape(inputs, (-1, *inputs.shape[2:]))

    def compute_output_shape(self, input_shape):
        return (None, *input_shape[2:])


@keras.saving.register_keras_serializable("affwild_omg")
class UnfoldTime(keras.layers.Layer):
    """Reshapes [batch * time, ...] to [batch, time, features]."""

    def call(self, inputs, like):
        """Returns the inputs, unfolded.

        Args:
            inputs: [batch * time, ...], what `FoldTime` gave or a layer on it.
            like: [batch, time, ...], gives the two sizes.
        """
        features = math.prod(inputs.shape[1:])
        return ops.reshape(inputs, (*ops.shape(like)[:2], features))

    def compute_output_spec(self, inputs, like):
        features = math.prod(inputs.shape[1:])
        return keras.KerasTensor(
            (*like.shape[:2], features), dtype=inputs.dtype
        )


@keras.saving.register_keras_serializable("affwild_omg")
class Dropout(keras.layers.Dropout):
    """Dropout that is off, in training too, where it is not trainable.

    Layers that stay as they are would otherwise feed noise to those that are
    trained on them.
    """

    def call(self, inputs, training=False):
        return super().call(inputs, training and self.trainable)


@keras.saving.register_keras_serializable("affwild_omg")
class FrameBatchNormalization(keras.layers.BatchNormalization):
    """Batch normalisation whose statistics ignore frames that do not count.

    Frames that pad a window, and frames without a face, would otherwise shift
    every other frame of the batch in training.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        # Statistics of three digits would shift all that comes after them.
        if self.dtype_policy.name == "bfloat16":
            self.dtype_policy = "mixed_bfloat16"

    def build(self, inputs_shape, valid_shape):
        super().build(inputs_shape)

    def call(self, inputs, valid, training=None):
        """Returns the inputs, normalised.

        Args:
            inputs: [frames, height, width, channels].
            valid: [frames], bool.
            training: whether the statistics are the batch's.
        """
        places = None
        if training:
            places = ops.broadcast_to(
                valid[:, None, None], ops.shape(inputs)[:-1]
            )
        return super().call(inputs, training=training, mask=places)

    def _moments(self, inputs, mask):
        mean, variance = super()._moments(inputs, mask)
        # Without any frame there are no statistics: the current ones stay.
        some = ops.any(mask)
        return (
            ops.where(some, mean, ops.cast(self.moving_mean, mean.dtype)),
            ops.where(
                some, variance, ops.cast(self.moving_variance, mean.dtype)
            ),
        )

    def compute_output_spec(self, inputs, valid, training=None):
        return keras.KerasTensor(inputs.shape, dtype=self.compute_dtype)


class _GRUStep(keras.layers.Layer):
    """One step of `GRU`; holds the weights of the state.

    It takes x W + b and, in one more column, 1 where the step is valid, else 0.
    The mask of `keras.layers.RNN` takes so many operations more that training
    takes twice as long.
    """

    def __init__(self, units, reset_after, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.reset_after = reset_after
        self.state_size = units
        self.output_size = units

    def build(self, input_shape):
        self.recurrent_kernel = self.add_weight(
            name="recurrent_kernel",
            shape=(self.units, 3 * self.units),
            initializer=self._orthogonal,
        )
        if self.reset_after:
            self.recurrent_bias = self.add_weight(
                name="recurrent_bias",
                shape=(3 * self.units,),
                initializer="zeros",
            )

    def _orthogonal(self, shape, dtype=None):
        # The decomposition that it takes has no bfloat16.
        return ops.cast(keras.initializers.Orthogonal()(shape), dtype)

    def call(self, inputs, states):
        (state,) = states
        gates = 2 * self.units
        inputs, candidate, valid = ops.split(
            inputs, [gates, 3 * self.units], axis=-1
        )
        kernel = self.recurrent_kernel
        if self.reset_after:
            inner = ops.matmul(state, kernel) + self.recurrent_bias
            inner, inner_candidate = ops.split(inner, [gates], axis=-1)
        else:
            kernel, candidate_kernel = ops.split(kernel, [gates], axis=-1)
            inner = ops.matmul(state, kernel)
        update, reset = ops.split(ops.sigmoid(inputs + inner), 2, axis=-1)
        if self.reset_after:
            inner_candidate = reset * inner_candidate
        else:
            inner_candidate = ops.matmul(reset * state, candidate_kernel)
        candidate = ops.tanh(candidate + inner_candidate)
        after = update * state + (1 - update) * candidate
        state = ops.where(valid > 0, after, state)
        return state, [state]


@keras.saving.register_keras_serializable("affwild_omg")
class GRU(keras.layers.Layer):
    """Gated recurrent units, with one product for the inputs of all frames.

    With x the input, h the state and * the element-wise product, a step is

        z = sigmoid(x Wz + h Uz + bz)        update gate
        r = sigmoid(x Wr + h Ur + br)        reset gate
        c = tanh(x Wc + (r * h) Uc + bc)     candidate
        h' = z * h + (1 - z) * c

    This is TensorFlow 1's `GRUCell`, the authors', and `keras.layers.GRU(
    reset_after=False)`, whose weights and their order it shares:

        kernel            [features, 3 * units]   Wz, Wr, Wc
        bias              [3 * units]             bz, br, bc
        recurrent_kernel  [units, 3 * units]      Uz, Ur, Uc

    With `reset_after`, the candidate is that of NVIDIA's kernels and of
    `keras.layers.GRU(reset_after=True)`, whose bias [2, 3 * units] holds
    `bias` and

        recurrent_bias    [3 * units]             dz, dr, dc

        c = tanh(x Wc + r * (h Uc + dc) + bc)

    with dz and dr beside bz and br.

    x W is computed before the loop: a tap of 73,728 features would otherwise
    read its kernel, and sum its gradient, once per frame. As in the authors'
    cell, gate biases start at 1 and the candidate's bias at 0.

    Args:
        units: size of the state.
        reset_after: whether the reset gate acts after the matrix product.
    """

    def __init__(self, units, reset_after=False, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.reset_after = reset_after
        self.recurrence = keras.layers.RNN(
            _GRUStep(units, reset_after, dtype=self.dtype_policy, name="step"),
            return_sequences=True,
            return_state=True,
            dtype=self.dtype_policy,
            name="recurrence",
        )

    def build(self, inputs_shape, valid_shape, state_shape=None):
        self.kernel = self.add_weight(
            name="kernel",
            shape=(inputs_shape[-1], 3 * self.units),
            initializer="glorot_uniform",
        )
        self.bias = self.add_weight(
            name="bias", shape=(3 * self.units,), initializer=self._start_bias
        )
        self.recurrence.build((*inputs_shape[:2], 3 * self.units + 1))

    def _start_bias(self, shape, dtype=None):
        return ops.concatenate(
            [ops.ones(2 * self.units, dtype), ops.zeros(self.units, dtype)]
        )

    def call(self, inputs, valid, state=None):
        """Returns the state after each step.

        Args:
            inputs: [batch, time, features].
            valid: [batch, time], bool; other steps keep the state.
            state: [batch, units], what the steps before have left; None
                starts at 0.

        Returns:
            [batch, time, units], 0 at steps that are not valid. Where a state
            is given, a pair of this and the state after the last step, [batch,
            units].
        """
        inputs = ops.matmul(inputs, self.kernel) + self.bias
        column = ops.cast(valid[..., None], inputs.dtype)
        inputs = ops.concatenate([inputs, column], axis=-1)
        if inputs.shape[1] == 1:
            states, last = self._step(inputs, state)
        else:
            states, last = self.recurrence(inputs, initial_state=state)
        states = ops.where(valid[..., None], states, 0)
        return states if state is None else (states, last)

    def _step(self, inputs, state):
        """Does without a loop, which some runtimes lack, for one step."""
        if state is None:
            state = ops.zeros_like(inputs[:, 0, : self.units])
        last, _ = self.recurrence.cell(inputs[:, 0], [state])
        return last[:, None], last

    def compute_output_spec(self, inputs, valid, state=None):
        states = keras.KerasTensor(
            (*inputs.shape[:2], self.units), dtype=self.compute_dtype
        )
        if state is None:
            return states
        return states, keras.KerasTensor(state.shape, self.compute_dtype)

    def get_config(self):
        own = {"units": self.units, "reset_after": self.reset_after}
        return super().get_config() | own
