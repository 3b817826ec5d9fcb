"""TensorFlow Serving's REST format: from JSON to tensors, and back.

What TensorFlow would take without a word (NaN, a size that fits by chance), or
fail at with a message of its own, is told here, before it sees the request.
"""

import base64
import json
import pathlib
from collections.abc import Callable, Mapping

import google.protobuf
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2

from affwild_omg.cli.errors import UserError
from affwild_omg.faces import pictures
from affwild_omg.paper.task import CROP_SIZE

DEFAULT = "serving_default"  # the signature of requests that name none
# protobuf's option for fields of default value, before version 5 and since.
_WITH_DEFAULTS = (
    "including_default_value_fields"
    if int(google.protobuf.__version__.split(".")[0]) < 5
    else "always_print_fields_with_no_presence"
)
_KEYS = ("signature_name", "instances", "inputs")
_KINDS = {  # types that a JSON value may have for a tensor of a type
    tf.bool: {bool},
    tf.float32: {int, float},
    tf.int32: {int},
    tf.uint8: {int},
    tf.string: {dict},
}
_WORDS = {
    bool: "true or false",
    int: "whole numbers",
    float: "decimal numbers",
    dict: "objects",
    str: "texts",
    list: "lists",
    type(None): "null",
}


def predict(
    body: bytes, signatures: Mapping[str, Callable], most_frames: int
) -> bytes:
    """Answers a request for predictions.

    Args:
        body: {"signature_name": name, "instances": [{input: value of a row}]}
            or, in place of "instances", "inputs": {input: value of all rows};
            strings are {"b64": text in base64}.
        signatures: of a SavedModel.
        most_frames: of a request, all rows together.

    Returns:
        {"predictions": [{output: value of a row}]} or {"outputs": {output:
        value of all rows}}, in strict JSON: null stands for NaN.

    Raises:
        UserError: the request is not as the signature wants it.
    """
    try:
        name, columns, by_row = _columns(body, signatures)
        signature = signatures[name]
        # Sorted, because TensorFlow 2.21 has another order than 2.17.
        specs = dict(sorted(signature.structured_input_signature[1].items()))
        _same_names(columns, specs, f"the signature {name}")
        arrays = {
            key: _array(key, columns[key], spec) for key, spec in specs.items()
        }
    except RecursionError as error:
        raise UserError("the body is nested too deeply") from error
    _agree(arrays, specs, most_frames)
    try:
        outputs = signature(
            **{
                key: tf.constant(x, specs[key].dtype)
                for key, x in arrays.items()
            }
        )
    except tf.errors.InvalidArgumentError as error:  # a damaged picture
        raise UserError(error.message) from error
    lists = {key: _to_list(x.numpy()) for key, x in outputs.items()}
    if not by_row:
        return to_json({"outputs": lists})
    rows = zip(*lists.values(), strict=True)
    return to_json(
        {"predictions": [dict(zip(lists, row, strict=True)) for row in rows]}
    )


def to_json(content: object) -> bytes:
    """Writes strict JSON, which has no NaN."""
    return json.dumps(content, allow_nan=False).encode()


def metadata(path: pathlib.Path) -> dict:
    """Returns what TensorFlow Serving tells of a SavedModel's signatures."""
    model = saved_model_pb2.SavedModel.FromString(
        (path / "saved_model.pb").read_bytes()
    )
    definitions = {
        name: json_format.MessageToDict(
            signature,
            preserving_proto_field_name=True,
            **{_WITH_DEFAULTS: True},
        )
        for name, signature in model.meta_graphs[0].signature_def.items()
    }
    return {"signature_def": {"signature_def": definitions}}


def _columns(body, signatures):
    """Returns the signature's name, {input: value}, and if rows were given."""
    try:
        content = json.loads(body, parse_constant=_not_json)
    except ValueError as error:
        raise UserError(f"the body is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise UserError("the body must be a JSON object")
    if unknown := sorted(content.keys() - set(_KEYS)):
        raise UserError(
            f"the body has {unknown[0]!r}; it may have {', '.join(_KEYS)}"
        )
    name = content.get("signature_name", DEFAULT)
    if not isinstance(name, str) or name not in signatures:
        raise UserError(
            f"signature_name must be one of {', '.join(signatures)}, not "
            f"{name!r}"
        )
    by_row = "instances" in content
    if by_row == ("inputs" in content):
        raise UserError(
            "the body must have either instances, a list of rows, or inputs, "
            "an object of columns"
        )
    if not by_row:
        if not isinstance(content["inputs"], dict):
            raise UserError("inputs must be an object with a key for each")
        return name, content["inputs"], by_row
    rows = content["instances"]
    if not isinstance(rows, list) or not rows:
        raise UserError("instances must be a list of one row or more")
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise UserError(
                f"instances[{number}] must be an object with a key for each "
                "input"
            )
        _same_names(row, rows[0], f"instances[{number}], as instances[0],")
    return name, {key: [row[key] for row in rows] for key in rows[0]}, by_row


def _not_json(constant):
    raise ValueError(f"it has no {constant}")


def _same_names(given, wanted, who):
    for name in wanted:
        if name not in given:
            raise UserError(f"{name} is missing, which {who} takes")
    for name in given:
        if name not in wanted:
            raise UserError(
                f"{name!r} is not what {who} takes: {', '.join(wanted)}"
            )


def _array(name, value, spec):
    """Returns a JSON value as an array for an input of a signature."""
    # Of objects: an array of texts has the room of the longest for each.
    array = np.array(value, object)
    if array.ndim != spec.shape.rank or any(
        found == 0 if size is None else found != size
        for size, found in zip(spec.shape, array.shape, strict=True)
    ):
        wanted = ["any" if size is None else size for size in spec.shape]
        differ = any(isinstance(x, list) for x in array.flat)
        raise UserError(
            f"{name} must have the shape {_shape(wanted)}, not "
            f"{_shape(array.shape)}"
            + ", and its lists must be equally long"
            * differ
        )
    kinds = _KINDS[spec.dtype]
    if strange := set(map(type, array.flat)) - kinds:
        raise UserError(
            f"{name} must be of {' or '.join(sorted(map(_word, kinds)))} "
            f"alone, and has {_word(strange.pop())}"
            + ': {"b64": "..."} for each'
            * (spec.dtype == tf.string)
        )
    if spec.dtype == tf.string:
        array.flat = [_decode(name, x) for x in array.flat]
        return array
    kind = spec.dtype.as_numpy_dtype
    try:
        with np.errstate(over="ignore"):
            result = array.astype(np.int64 if spec.dtype.is_integer else kind)
    except OverflowError:
        result = np.array(np.inf)
    least, most = False, True
    if spec.dtype != tf.bool:
        least, most = spec.dtype.min, spec.dtype.max
    if not ((least <= result) & (result <= most)).all():
        raise UserError(
            f"{name} must be from {least} to {most}, and has another number"
        )
    return result.astype(kind)


def _word(kind):
    return _WORDS.get(kind, kind.__name__)


def _shape(sizes):
    return f"[{', '.join(map(str, sizes))}]"


def _decode(name, value):
    text = value.get("b64") if len(value) == 1 else None
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError) as error:
        raise UserError(
            f'{name} must hold {{"b64": text in base64}} alone'
        ) from error


def _agree(arrays, specs, most_frames):
    """Checks what the inputs must have in common, and the sizes of pictures."""
    whose = {}
    for axis, of in enumerate(("batch", "time")):
        for name, array in arrays.items():
            if axis < array.ndim and specs[name].shape[axis] is None:
                first, size = whose.setdefault(of, (name, array.shape[axis]))
                if array.shape[axis] != size:
                    raise UserError(
                        f"{name} and {first} must agree on the {of}, not "
                        f"{array.shape[axis]} against {size}"
                    )
    frames = whose["batch"][1] * whose["time"][1]
    if frames > most_frames:
        raise UserError(
            f"the request has {frames} frames, and {most_frames} are allowed; "
            "send several, with the signature step"
        )
    seen = arrays.get("mask", np.ones((1, 1), bool))
    if "length" in arrays:
        time = whose["time"][1]
        if not ((0 <= arrays["length"]) & (arrays["length"] <= time)).all():
            raise UserError(f"length must be from 0 to {time}, the time")
        seen = seen & (np.arange(time) < arrays["length"][:, np.newaxis])
    if "images" in arrays:
        for place in np.argwhere(seen):
            where = "images" + "".join(f"[{i}]" for i in place)
            size = pictures.open_file(
                arrays["images"][tuple(place)], where
            ).size
            if size != (CROP_SIZE, CROP_SIZE):
                raise UserError(
                    f"{where} is {size[0]}x{size[1]}; crops are "
                    f"{CROP_SIZE}x{CROP_SIZE}"
                )


def _to_list(array):
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        array = np.where(np.isfinite(array), array, None)
    return array.tolist()
