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

# What a CPU that computes in bfloat16 says of itself. Others emulate it, which
# takes longer than float32.
ABLE = ("avx512_bf16", "amx_bf16")
CPU = pathlib.Path("/proc/cpuinfo")


def choose(precision: str, runtime: str = "tensorflow") -> str:
    """Returns what is computed in: "float32", "bfloat16" or "int8".

    Args:
        precision: one of PRECISIONS; "auto" is bfloat16 where the CPU and the
            runtime have it, else float32.
        runtime: one of RUNTIMES.

    Raises:
        UserError: the runtime or the CPU does not have what is asked for.
    """
    kinds = RUNTIMES[runtime]
    if precision not in ("auto", *kinds):
        raise UserError(
            f"--precision={precision} does not go with --runtime={runtime}, "
            f"which has {' and '.join(kinds)}; give one of these, or another "
            "runtime"
        )
    able = not set(ABLE).isdisjoint(CPU.read_text().split())
    if precision == "bfloat16" and not able:
        raise UserError(
            "--precision=bfloat16: the CPU of this machine does not compute "
            f"in it ({CPU} lists neither {' nor '.join(ABLE)}); leave the flag "
            "out"
        )
    if precision == "auto":
        return "bfloat16" if able and "bfloat16" in kinds else "float32"
    return precision
