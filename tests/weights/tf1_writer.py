"""Writes TensorFlow 1 checkpoints of the authors' networks, for test_tf1.

    TF_USE_LEGACY_KERAS=1 python tf1_writer.py FOLDER

FOLDER receives `<name>/model.ckpt-7.*` of each network, and `results.npz`:
predictions by name, and the "frames" that they are of.

This is a process of its own without any code of this project: graphs are built
as in TensorFlow 1, with its own GRUCell, from the published definitions of
VGG-Face and of TF-Slim's resnet_v1_50, and with the variable scopes of the
authors' code. Weights are random.
"""

import pathlib
import sys
import zlib

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1
BATCH, TIME, SIZE = 2, 4, 96
UNITS, HEAD = 5, 11
VGG = ((1, 1), (2, 2), (4, 4, 4), (8, 8, 8), (8, 8, 8))  # of conv_1's channels


def variable(name, *shape):
    return v1.get_variable(name, shape)


def affine(x, units, weights="weights", biases="biases"):
    return v1.nn.xw_plus_b(
        x, variable(weights, x.shape[-1], units), variable(biases, units)
    )


def flat(x):
    return tf.reshape(x, [BATCH * TIME, -1])


def grus(x):
    """Two layers of GRUs over the frames of each sequence."""
    x = tf.reshape(x, [BATCH, TIME, np.prod(x.shape[1:])])
    cells = [v1.nn.rnn_cell.GRUCell(UNITS) for _ in range(2)]
    x, _ = v1.nn.dynamic_rnn(
        v1.nn.rnn_cell.MultiRNNCell(cells), x, dtype=tf.float32
    )
    return tf.reshape(x, [BATCH * TIME, UNITS])


def vgg_face(x, first):
    """VGG-Face: (last convolution, last pool, fully connected layer)."""
    number = 0
    for block in VGG:
        for factor in block:
            number += 1
            with v1.variable_scope(f"conv_{number}"):
                filters = first * factor
                kernel = variable("weights", 3, 3, x.shape[-1], filters)
                x = tf.nn.conv2d(x, kernel, 1, "SAME")
                x = tf.nn.relu(x + variable("biases", filters))
        last_conv = x
        x = tf.nn.max_pool(x, 2, 2, "SAME")
    with v1.variable_scope("linear_1"):
        fc = tf.nn.relu(affine(flat(x), 24))
    return last_conv, x, fc


def normalised(x, filters, size, stride, activation=tf.identity):
    """Slim's conv2d_same with batch normalisation, in training's absence."""
    kernel = variable("weights", size, size, x.shape[-1], filters)
    if stride == 1:
        x = tf.nn.conv2d(x, kernel, 1, "SAME")
    else:
        before = (size - 1) // 2
        sides = [before, size - 1 - before]
        x = tf.pad(x, [[0, 0], sides, sides, [0, 0]])
        x = tf.nn.conv2d(x, kernel, stride, "VALID")
    with v1.variable_scope("BatchNorm"):
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        gamma, beta, mean, variance = (variable(n, filters) for n in names)
    x = (x - mean) / tf.sqrt(variance + 1e-5) * gamma + beta
    return activation(x)


def bottleneck(x, inner, stride):
    """Slim's unit, which strides in its middle."""
    outer = 4 * inner
    with v1.variable_scope("bottleneck_v1"):
        if x.shape[-1] == outer:
            # Slim's subsample: a pool of one place.
            shortcut = tf.nn.max_pool(x, 1, stride, "SAME")
        else:
            with v1.variable_scope("shortcut"):
                shortcut = normalised(x, outer, 1, stride)
        with v1.variable_scope("conv1"):
            x = normalised(x, inner, 1, 1, tf.nn.relu)
        with v1.variable_scope("conv2"):
            x = normalised(x, inner, 3, stride, tf.nn.relu)
        with v1.variable_scope("conv3"):
            x = normalised(x, outer, 1, 1)
    return tf.nn.relu(shortcut + x)


def resnet(x, first):
    """Slim's resnet_v1_50 up to its average over all places."""
    with v1.variable_scope("conv1"):
        x = normalised(x, first, 7, 2, tf.nn.relu)
    x = tf.nn.max_pool(x, 3, 2, "SAME")
    # The stride of a block lies in its last unit; the last block has none.
    for block, (factor, units, stride) in enumerate(
        [(1, 3, 2), (2, 4, 2), (4, 6, 2), (8, 3, 1)], start=1
    ):
        for unit in range(1, units + 1):
            with v1.variable_scope(f"block{block}/unit_{unit}"):
                last = unit == units
                x = bottleneck(x, first * factor, stride if last else 1)
    return tf.reduce_mean(x, [1, 2], keepdims=True)


def cnn_gru_3rnn(x):
    last_conv, last_pool, fc = vgg_face(x, 8)
    with v1.variable_scope("rnn_fc_1"):
        fc = grus(fc)
    with v1.variable_scope("rnn_last_conv_1"):
        last_conv = grus(last_conv)
    with v1.variable_scope("rnn_max_pool_1"):
        last_pool = grus(last_pool)
        return affine(tf.concat([last_conv, last_pool, fc], 1), 2)


def cnn_gru_1rnn(x):
    _, last_pool, fc = vgg_face(x, 8)
    with v1.variable_scope("rnn_out_fc_max_pool_1"):
        return affine(grus(tf.concat([fc, flat(last_pool)], 1)), 2)


def vgg_gru(x):
    _, _, fc = vgg_face(x, 8)
    with v1.variable_scope("rnn_1"):
        return affine(grus(fc), 2, "weights_rnn", "biases_rnn")


def vgg_cnn(x):
    _, _, fc = vgg_face(x, 8)
    with v1.variable_scope("linear2_1"):
        x = tf.nn.relu(affine(fc, HEAD))
    with v1.variable_scope("linear3_1"):
        return affine(x, 2)


def resnet_gru(x):
    with v1.variable_scope("resnet_v1_50"):
        x = resnet(x, 16)
    with v1.variable_scope("rnn"):
        return affine(grus(x), 2, "weights_output", "biases_output")


def resnet_cnn(x):
    with v1.variable_scope("resnet_v1_50"):
        x = resnet(x, 8)
        with v1.variable_scope("logits"):
            kernel = variable("weights", 1, 1, x.shape[-1], 2)
            x = tf.nn.conv2d(x, kernel, 1, "SAME") + variable("biases", 2)
            return flat(x)


NETWORKS = (
    cnn_gru_3rnn,
    cnn_gru_1rnn,
    vgg_gru,
    vgg_cnn,
    resnet_gru,
    resnet_cnn,
)


def random_values(name, shape):
    """Values that keep activations alive, and none at where it would start."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith(("gamma", "moving_variance")):
        return random.uniform(0.5, 1.5, shape)
    if len(shape) == 1:
        return random.normal(1 if "gates" in name else 0, 0.2, shape)
    # What a unit adds to its shortcut must not double it, unit upon unit.
    gain = 0.2 if "bottleneck_v1/conv3" in name or "logits" in name else 2
    return random.normal(0, np.sqrt(gain / np.prod(shape[:-1])), shape)


def make_frames():
    """Blotches, each frame in its own colours: [batch, time, 96, 96, 3]."""
    random = np.random.default_rng(0)
    colours = random.uniform(0, 200, (BATCH, TIME, 1, 1, 3))
    blotches = colours + random.uniform(0, 56, (BATCH, TIME, 4, 4, 3))
    frames = blotches.repeat(SIZE // 4, axis=2).repeat(SIZE // 4, axis=3)
    return frames.astype(np.uint8)


def write(network, frames, folder):
    folder.mkdir()
    with tf.Graph().as_default(), v1.Session() as session:
        images = (tf.constant(frames, tf.float32) - 128) / 128
        output = network(tf.reshape(images, [-1, SIZE, SIZE, 3]))
        variables = v1.global_variables()
        session.run(
            [x.initializer for x in variables],
            # One run for all: each run after a change of the graph is slow.
            {
                x.initializer.inputs[1]: random_values(x.op.name, x.shape)
                for x in variables
            },
        )
        # What training keeps beside them.
        extra = [
            v1.get_variable("global_step", [], tf.int64),
            v1.get_variable("beta1_power", []),
            v1.get_variable(f"{variables[0].op.name}/Adam", [3]),
            v1.get_variable(f"{variables[0].op.name}/Adam_1", [3]),
        ]
        session.run(v1.variables_initializer(extra))
        v1.train.Saver(variables + extra).save(
            session,
            str(folder / "model.ckpt"),
            global_step=7,
            write_meta_graph=False,
        )
        return session.run(output).reshape(BATCH, TIME, 2)


def main(folder):
    # TensorFlow 1 had no resource variables.
    v1.disable_resource_variables()
    frames = make_frames()
    results = {
        network.__name__: write(network, frames, folder / network.__name__)
        for network in NETWORKS
    }
    np.savez(folder / "results.npz", frames=frames, **results)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
