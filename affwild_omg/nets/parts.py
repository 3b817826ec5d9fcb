"""The weights of a model by name, and the part that each belongs to."""

import keras


def named_weights(model: keras.Model) -> dict[str, keras.Variable]:
    """Returns every weight by a name that only depends on the architecture.

    "conv1_1/kernel", or in a fusion "member1/conv1_1/kernel"; the same for a
    fresh model and for a loaded one.
    """
    return {
        f"{name.removesuffix(layer.name)}{weight.path}": weight
        for name, layer in named_layers(model).items()
        for weight in layer.weights
    }


def named_layers(model: keras.Model, place: str = "") -> dict[str, keras.Layer]:
    """Returns every layer by its name, in a fusion like "member1/conv1_1"."""
    found = {}
    for layer in model.layers:
        name = f"{place}{layer.name}"
        if isinstance(layer, keras.Model):
            found |= named_layers(layer, f"{name}/")
        else:
            found[name] = layer
    return found


def part_of(name: str) -> str:
    """Returns which of `architectures.PARTS` a layer belongs to, by its name.

    "cnn" is the convolutional network, "fc" the fully connected layer on it
    and the landmark encoder, "rnn" the GRU stacks and what a fusion's member
    has above them, and "output" everything above: a head, a fusion's own layer
    and the output layer. A dropout belongs to the layer before it.
    """
    *member, layer = name.split("/")
    if layer in ("fc", "fc_dropout", "landmark_encoder"):
        return "fc"
    if layer == "head" and not member:
        return "output"
    if layer in ("fusion_fc", "fusion_gru", "output"):
        return "output"
    recurrent = "_gru" in layer or "_dropout" in layer or layer == "head"
    return "rnn" if recurrent else "cnn"
