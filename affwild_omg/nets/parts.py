"""The weights of a model by name, and the part that each belongs to."""

from collections.abc import Iterator

import keras


def named_weights(model: keras.Model) -> dict[str, keras.Variable]:
    """Returns every weight by a name that only depends on the architecture.

    "conv1_1/kernel", or in a fusion "member1/conv1_1/kernel"; the same for a
    fresh model and for a loaded one.
    """
    return {
        f"{prefix}{weight.path}": weight
        for prefix, layer in _layers(model)
        for weight in layer.weights
    }


def layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yields every layer, including those of a fusion's members."""
    for _, layer in _layers(model):
        yield layer


def _layers(model, prefix=""):
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer, f"{prefix}{layer.name}/")
        else:
            yield prefix, layer


def part_of(layer: str) -> str:
    """Returns which of `architectures.PARTS` a layer belongs to, by its name.

    "cnn" is the convolutional network, "fc" the fully connected layer on it
    and the landmark encoder, "rnn" the GRU stacks, and "output" everything
    above: a head, a fusion's own layer and the output layer.
    """
    if layer in ("head", "fusion_fc", "fusion_gru", "output"):
        return "output"
    if layer in ("fc", "landmark_encoder"):
        return "fc"
    return "rnn" if "_gru" in layer else "cnn"
