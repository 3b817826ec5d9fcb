"""Adam with a learning rate for each part of a network."""

from collections.abc import Mapping

import keras

from affwild_omg.nets import parts


@keras.saving.register_keras_serializable("affwild_omg")
class PartAdam(keras.optimizers.Adam):
    """Adam whose learning rate depends on the part that a weight is in.

    Scaling gradients would have no effect, because Adam normalises them.

    Args:
        learning_rate: for every part that `rates` does not name.
        rates: {part: learning rate}, see `parts.part_of`.
    """

    def __init__(self, learning_rate=1e-4, rates: Mapping = (), **kwargs):
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.rates = dict(rates)

    def build(self, variables):
        super().build(variables)
        self._rates = [
            self.rates.get(parts.part_of(variable.path.split("/")[0]))
            for variable in variables
        ]

    def update_step(self, gradient, variable, learning_rate):
        rate = self._rates[self._get_variable_index(variable)]
        super().update_step(
            gradient, variable, learning_rate if rate is None else rate
        )

    def get_config(self):
        return super().get_config() | {"rates": self.rates}
