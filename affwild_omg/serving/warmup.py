"""Warm-up requests: what TensorFlow Serving runs before a model answers.

Without them the first user waits for what TensorFlow only sets up once it
runs. The server reads them from the SavedModel's `assets.extra`, as records of
`PredictionLog`.
"""

import pathlib

import numpy as np
import tensorflow as tf

from affwild_omg.cli.errors import UserError
from affwild_omg.paper.task import CROP_SIZE

# The server knows it by this name.
REQUESTS = pathlib.Path("assets.extra") / "tf_serving_warmup_requests"


def require() -> None:
    """Checks that the messages of TensorFlow Serving are installed.

    Raises:
        UserError: they are not.
    """
    try:
        import tensorflow_serving.apis  # noqa: F401
    except ImportError as error:
        # One of another version would change TensorFlow's.
        version = tf.__version__.rpartition(".")[0]
        raise UserError(
            "--warmup needs tensorflow-serving-api of TensorFlow's version: "
            f"pip install 'tensorflow-serving-api~={version}.0', or leave "
            "--warmup out"
        ) from error


def write(saved_model: pathlib.Path, signatures: dict, time: int) -> None:
    """Writes a request for each signature.

    Args:
        saved_model: folder of the SavedModel.
        signatures: {name: tf.function with an input signature}.
        time: frames of a request; `step` gets one.
    """
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    with tf.io.TFRecordWriter(str(saved_model / REQUESTS)) as writer:
        for name, function in signatures.items():
            request = predict_pb2.PredictRequest()
            request.model_spec.signature_name = name
            for spec in function.input_signature:
                value = _example(spec, 1 if name == "step" else time)
                request.inputs[spec.name].CopyFrom(tf.make_tensor_proto(value))
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.CopyFrom(request)
            writer.write(log.SerializeToString())


def _example(spec, time):
    """Returns a sequence of black frames, all of which count."""
    _, *shape = spec.shape
    shape = (1, *(time if size is None else size for size in shape))
    if spec.name == "images":
        black = np.zeros((CROP_SIZE, CROP_SIZE, 3), np.uint8)
        return np.full(shape, tf.io.encode_png(black).numpy(), object)
    value = {"length": time, "mask": True}.get(spec.name, 0)
    return np.full(shape, value, spec.dtype.as_numpy_dtype)
