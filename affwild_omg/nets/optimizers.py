"""Adam with a learning rate, and a decay, for each weight."""

from collections.abc import Mapping, Sequence

import keras

from affwild_omg.nets import parts


@keras.saving.register_keras_serializable("affwild_omg")
class ScaledAdam(keras.optimizers.Adam):
    """Adam that multiplies its learning rate by a factor for each weight.

    Scaling gradients would have no effect, because Adam normalises them.
    Weights decay as in AdamW, by the rate that each of them has; Keras' own
    AdamW would take one rate for all.

    Args:
        learning_rate: what a weight of factor 1 takes, or its schedule.
        factors: one for each of the variables that it is built for, in order.
        decays: the same; of what a weight loses in a step, in units of its
            learning rate.
    """

    def __init__(
        self,
        learning_rate=1e-4,
        factors: Sequence = (),
        decays: Sequence = (),
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.factors = list(factors)
        self.decays = list(decays)

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        rate = learning_rate * self.factors[index]
        if self.decays[index]:
            self.assign_sub(variable, variable * (rate * self.decays[index]))
        super().update_step(gradient, variable, rate)

    def get_config(self):
        own = {"factors": self.factors, "decays": self.decays}
        return super().get_config() | own


def adam(
    model: keras.Model,
    learning_rate: float,
    rates: Mapping[str, float],
    *,
    warmup_steps: int = 0,
    cosine_steps: int = 0,
    clip_norm: float = 0.0,
    weight_decay: float = 0.0,
    ema: float = 0.0,
) -> ScaledAdam:
    """Builds Adam for the trainable weights of a model.

    Args:
        model: its layers' `trainable` is set already.
        learning_rate: of every part that `rates` does not name.
        rates: {part: learning rate}, see `parts.part_of`.
        warmup_steps: in which all rates rise from 0, in a line.
        cosine_steps: after these, in which they fall to 0 by half a cosine; 0:
            they stay.
        clip_norm: of all gradients together, which a larger one is scaled to;
            0: none is.
        weight_decay: of every weight but biases and those of normalisation, as
            in AdamW.
        ema: how much of the average of each weight stays in a step; 0: there
            are no averages.

    Returns:
        The optimizer, built.
    """
    factors = {}
    for name, layer in parts.named_layers(model).items():
        rate = rates.get(parts.part_of(name), learning_rate)
        for weight in layer.weights:
            factors[id(weight)] = rate / learning_rate
    variables = model.trainable_variables
    optimizer = ScaledAdam(
        _schedule(learning_rate, warmup_steps, cosine_steps),
        [factors[id(x)] for x in variables],
        # Biases and normalisation are those of one dimension.
        [weight_decay if len(x.shape) > 1 else 0.0 for x in variables],
        global_clipnorm=clip_norm or None,
        use_ema=bool(ema),
        ema_momentum=ema,
    )
    optimizer.build(variables)
    return optimizer


def _schedule(learning_rate, warmup_steps, cosine_steps):
    if not (warmup_steps or cosine_steps):
        return learning_rate
    return keras.optimizers.schedules.CosineDecay(
        0.0 if warmup_steps else learning_rate,
        decay_steps=cosine_steps or 1,
        # Of the learning rate, where it ends: one that stays ends as it was.
        alpha=0.0 if cosine_steps else 1.0,
        warmup_target=learning_rate if warmup_steps else None,
        warmup_steps=warmup_steps,
    )
