"""Adam with a learning rate for each weight."""

from collections.abc import Mapping, Sequence

import keras

from affwild_omg.nets import parts


@keras.saving.register_keras_serializable("affwild_omg")
class ScaledAdam(keras.optimizers.Adam):
    """Adam that multiplies its learning rate by a factor for each weight.

    Scaling gradients would have no effect, because Adam normalises them.

    Args:
        learning_rate: what a weight of factor 1 takes.
        factors: one for each of the variables that it is built for, in order.
    """

    def __init__(self, learning_rate=1e-4, factors: Sequence = (), **kwargs):
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.factors = list(factors)

    def update_step(self, gradient, variable, learning_rate):
        factor = self.factors[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * factor)

    def get_config(self):
        return super().get_config() | {"factors": self.factors}


def adam(
    model: keras.Model,
    learning_rate: float,
    rates: Mapping[str, float],
) -> ScaledAdam:
    """Builds Adam for the trainable weights of a model.

    Args:
        model: its layers' `trainable` is set already.
        learning_rate: of every part that `rates` does not name.
        rates: {part: learning rate}, see `parts.part_of`.

    Returns:
        The optimizer, built.
    """
    factors = {}
    for name, layer in parts.named_layers(model).items():
        rate = rates.get(parts.part_of(name), learning_rate)
        for weight in layer.weights:
            factors[id(weight)] = rate / learning_rate
    variables = model.trainable_variables
    optimizer = ScaledAdam(learning_rate, [factors[id(x)] for x in variables])
    optimizer.build(variables)
    return optimizer
