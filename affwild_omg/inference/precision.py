"""In which numbers a network computes."""

import pathlib

from affwild_omg.cli.errors import UserError

# What each runtime computes in.
RUNTIMES = {
    "tensorflow": ("float32", "bfloat16"),
    "onnxruntime": ("float32", "int8"),
    "openvino": ("float32", "bfloat16", "int8"),
    "litert": ("float32", "int8"),
}
PRECISIONS = ("float32", "bfloat16", "int8", "auto")

# What a CPU that computes in bfloat16 says of itself, and the first NVIDIA GPUs
# that do. Others emulate it, which takes longer than float32.
ABLE = ("avx512_bf16", "amx_bf16")
ABLE_GPU = (8, 0)  # compute capability
CPU = pathlib.Path("/proc/cpuinfo")


def choose(precision: str, runtime: str = "tensorflow") -> str:
    """Returns what is computed in: "float32", "bfloat16" or "int8".

    Args:
        precision: one of PRECISIONS; "auto" is bfloat16 where the device and
            the runtime have it, else float32.
        runtime: one of RUNTIMES. TensorFlow computes on GPUs where there are
            any, the others on the CPU.

    Raises:
        UserError: the runtime or the device does not have what is asked for.
    """
    kinds = RUNTIMES[runtime]
    if precision not in ("auto", *kinds):
        raise UserError(
            f"--precision={precision} does not go with --runtime={runtime}, "
            f"which has {' and '.join(kinds)}; give one of these, or another "
            "runtime"
        )
    lack = _lack(runtime)
    if precision == "bfloat16" and lack:
        raise UserError(
            f"--precision=bfloat16: {lack} does not compute in it; leave the "
            "flag out"
        )
    if precision == "auto":
        return "float32" if lack or "bfloat16" not in kinds else "bfloat16"
    return precision


def _lack(runtime):
    """Returns the device that does not compute in bfloat16, if it does not."""
    gpus = []
    if runtime == "tensorflow":
        import tensorflow as tf  # heavy

        gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        details = tf.config.experimental.get_device_details(gpu)
        own = details.get("compute_capability", (0, 0))
        if own < ABLE_GPU:
            name = details.get("device_name", "of this machine")
            return f"the GPU {name} (compute capability {own[0]}.{own[1]})"
    if gpus or not set(ABLE).isdisjoint(CPU.read_text().split()):
        return None
    return f"the CPU of this machine ({CPU} lists neither {' nor '.join(ABLE)})"
