"""Measures whether a full-size network learns, or saturates its gates.

    python benchmarks/saturation.py --video=a.mp4,b.mp4,c.mp4

Scales its features to 0.2 to 0.4, trains it on 12 clips of 3 frames,
with random labels, and prints at some steps the mean loss of the last 15, and
of each tap the size of its features and the share of gates that they saturate;
at the end CCC on the same clips.
"""

import dataclasses

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from affwild_omg.faces import detection, landmarks, tracking
from affwild_omg.faces.video import Video
from affwild_omg.nets import models, optimizers, parts
from affwild_omg.published import networks
from affwild_omg.scoring import concordance
from affwild_omg.training import regime
from affwild_omg.training.step import Step
from affwild_omg.weights import calibration

VIDEOS = flags.DEFINE_list("video", None, "Three videos that show a face.")
ARCHITECTURE = flags.DEFINE_string("architecture", "cnn_3rnn", "Network.")
LEARNING_RATE = flags.DEFINE_float("learning_rate", 1e-5, "Adam's.")
STEPS = flags.DEFINE_integer("steps", 200, "Steps of 4 clips.")
SCALE = flags.DEFINE_float(
    "scale",
    1.0,
    "Factor of VGG-Face's first convolution, such as 100 for weights of Caffe.",
)
BACKBONE = flags.DEFINE_enum(
    "backbone",
    "vgg_face",
    ["vgg_face", "resnet50", "densenet121"],
    "Convolutional network. As with ImageNet's weights, batch normalisation "
    "(with the faces' statistics) stays as it is.",
)
TAPS = flags.DEFINE_list("taps", None, "Taps, unless the architecture's own.")
flags.mark_flag_as_required("video")

CLIPS, FRAMES, BATCH = 12, 3, 4


def read_clips() -> dict[str, np.ndarray]:
    """Cuts clips from the videos, as many from each, far from each other."""
    found = {"frames": [], "landmarks": []}
    finders = {
        "detector": detection.Detector(),
        "landmarker": landmarks.Landmarker(),
    }
    for path in VIDEOS.value:
        with Video(path) as video:
            timed = tracking.faces_of_video(video, **finders)
            faces = [face for _, face in timed if face.found]
        count = CLIPS // len(VIDEOS.value)
        for start in np.linspace(0, len(faces) - FRAMES, count).astype(int):
            own = faces[start : start + FRAMES]
            found["frames"].append([face.crop for face in own])
            found["landmarks"].append([face.landmarks for face in own])
    labels = np.random.default_rng(5).uniform(-0.8, 0.8, (CLIPS, 1, 2))
    return {
        "frames": np.array(found["frames"], np.uint8),
        "landmarks": np.array(found["landmarks"], np.float32),
        "mask": np.ones((CLIPS, FRAMES), bool),
        "labels": np.repeat(labels, FRAMES, axis=1).astype(np.float32),
        "number": np.zeros(CLIPS, np.int64),  # which a step passes on
    }


def main(_) -> None:
    """Trains, and prints what is measured on the way."""
    clips, normalised = read_clips(), []
    network = networks.named(ARCHITECTURE.value)
    if BACKBONE.value != "vgg_face":
        network = dataclasses.replace(
            network, backbone=BACKBONE.value, taps=tuple(TAPS.value)
        )
    model = models.build(network, 0)
    for layer in parts.named_layers(model).values():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
            normalised.append(layer)
    if normalised:
        model({x.name: clips[x.name] for x in model.inputs}, training=True)
    for layer in normalised:
        layer.trainable = False
    members = [x for x in model.layers if isinstance(x, keras.Model)]
    faces = np.concatenate(clips["frames"])[:32]
    for member in members or [model]:
        if BACKBONE.value == "vgg_face":
            kernel = member.get_layer("conv1_1").kernel
            kernel.assign(SCALE.value * kernel)
        calibration.calibrate(member, BACKBONE.value, faces)
    model.get_layer("output").bias.assign(clips["labels"].mean(axis=(0, 1)))
    optimizer = optimizers.adam(model, LEARNING_RATE.value, {})
    step = Step(model, optimizer, tf.distribute.get_strategy(), "sequence")
    step.seed_dropout(0)
    rng, losses, order = np.random.default_rng(5), [], []

    def show() -> None:
        probe = {name: x[:BATCH] for name, x in clips.items()}
        taps = regime.measure(model, network, probe, "sequence").taps
        texts = [
            f"{tap} {x['feature_rms']:.2f}, {x['saturated_gates']:.2%}"
            for tap, x in taps.items()
        ]
        loss = f"{np.mean(losses[-15:]):.4f}" if losses else "-"
        print(f"step {len(losses)}: loss {loss}", *texts, sep="; ", flush=True)

    show()
    while len(losses) < STEPS.value:
        if not len(order):
            order = rng.permutation(CLIPS)
        batch, order = order[:BATCH], order[BATCH:]
        loss, *_ = step(
            {name: tf.constant(x[batch]) for name, x in clips.items()}
        )
        losses.append(float(loss))
        if len(losses) in (20, 45, 100, 150, STEPS.value):
            show()
    inputs = {x.name: clips[x.name] for x in model.inputs}
    values = np.asarray(model.predict(inputs, batch_size=BATCH, verbose=0))
    for index, target in enumerate(network.targets):
        pair = clips["labels"][:, 0, index], values.mean(axis=1)[:, index]
        print(target, f"CCC {concordance.concordance(*pair):.3f}")


if __name__ == "__main__":
    app.run(main)
