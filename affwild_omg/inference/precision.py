"""In which numbers a network computes."""

import pathlib

from affwild_omg.cli.errors import UserError

PRECISIONS = ("float32", "bfloat16", "auto")

# What a CPU that computes in bfloat16 says of itself. Others emulate it, which
# takes longer than float32.
ABLE = ("avx512_bf16", "amx_bf16")
CPU = pathlib.Path("/proc/cpuinfo")


def choose(precision: str) -> str:
    """Returns "float32" or "bfloat16".

    Args:
        precision: one of PRECISIONS; "auto" is bfloat16 where the CPU has it.

    Raises:
        UserError: bfloat16 is asked for, and the CPU does not have it.
    """
    able = not set(ABLE).isdisjoint(CPU.read_text().split())
    if precision == "bfloat16" and not able:
        raise UserError(
            "--precision=bfloat16: the CPU of this machine does not compute "
            f"in it ({CPU} lists neither {' nor '.join(ABLE)}); leave the flag "
            "out"
        )
    return "bfloat16" if able and precision != "float32" else "float32"
