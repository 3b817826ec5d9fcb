"""Export: a trained model becomes a SavedModel that stands alone."""

import pathlib

import keras
import tensorflow as tf
from absl import logging

from affwild_omg.paper.task import CROP_SIZE, LANDMARKS
from affwild_omg.serving.options import ExportOptions
from affwild_omg.storage import files
from affwild_omg.weights import model_file

_PARTS = (  # of a SavedModel, whoever wrote it
    "saved_model.pb",
    "fingerprint.pb",
    "variables",
    "assets",
    "assets.extra",
)


def export(options: ExportOptions, *, overwrite: bool = False) -> pathlib.Path:
    """Writes the SavedModel of a workdir's best model or of a model file.

    It runs where there is TensorFlow alone. Signature `serving_default`:

        frames      uint8 [batch, time, 96, 96, 3], aligned RGB crops
        landmarks   float32 [batch, time, 68, 2], in crop pixels

    and `masked`, with one input more:

        mask        bool [batch, time], False where there is no face

    Both give, for the targets that the network has,

        valence, arousal                      float32 [batch, time]
        sequence_valence, sequence_arousal    float32 [batch], the median over
                                              the frames that count; NaN
                                              where none does

    Batch and time are free and the normalisation is inside.

    Args:
        options: what and where.
        overwrite: replace a SavedModel that is there.

    Returns:
        The folder.

    Raises:
        UserError: the model cannot be loaded or the output cannot be used.
    """
    with files.atomic_directory(
        options.output, flag="--output", overwrite=overwrite, owned=_PARTS
    ) as directory:
        network, card = model_file.load_model(options.model)
        _write(network, card, directory)
    return pathlib.Path(options.output)


def _write(network, card, directory):
    targets = card.architecture.targets
    inputs = {
        "frames": tf.TensorSpec(
            (None, None, CROP_SIZE, CROP_SIZE, 3), tf.uint8, "frames"
        ),
        "landmarks": tf.TensorSpec(
            (None, None, LANDMARKS, 2), tf.float32, "landmarks"
        ),
        "mask": tf.TensorSpec((None, None), tf.bool, "mask"),
    }
    taken = {tensor.name for tensor in network.inputs}

    # One function that both signatures call, so that it is traced once.
    @tf.function(input_signature=list(inputs.values()))
    def masked(frames, landmarks, mask):
        features = {"frames": frames, "landmarks": landmarks, "mask": mask}
        values = network(
            {name: features[name] for name in taken}, training=False
        )
        by_target = dict(zip(targets, tf.unstack(values, axis=-1), strict=True))
        return by_target | {
            f"sequence_{target}": masked_median(x, mask)
            for target, x in by_target.items()
        }

    def unmasked(frames, landmarks):
        return masked(frames, landmarks, tf.ones(tf.shape(frames)[:2], tf.bool))

    archive = keras.export.ExportArchive()
    archive.track(network)
    archive.add_endpoint(
        "serving_default",
        unmasked,
        [inputs["frames"], inputs["landmarks"]],
    )
    archive.add_endpoint("masked", masked, list(inputs.values()))
    # TensorFlow tells of the temporary folder, which nobody will find.
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        archive.write_out(str(directory), verbose=False)
    finally:
        logging.set_verbosity(verbosity)
    extra = directory / model_file.SAVED_MODEL_CARD
    extra.parent.mkdir()
    extra.write_text(card.to_json(), encoding="utf-8")


def masked_median(values, mask):
    """Computes the median of each row over the columns that count.

    Args:
        values: float [rows, columns].
        mask: bool [rows, columns].

    Returns:
        [rows]; NaN where nothing counts.
    """
    nothing = tf.constant(float("nan"), values.dtype)
    last = tf.constant(float("inf"), values.dtype)
    counts = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)
    ordered = tf.sort(tf.where(mask, values, last), axis=1)

    def at(index):
        return tf.gather(ordered, tf.maximum(index, 0), batch_dims=1)

    middle = (at((counts - 1) // 2) + at(counts // 2)) / 2
    return tf.where(counts > 0, middle, nothing)
