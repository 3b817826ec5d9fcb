"""What every command line here shares: help that is quick, errors in a line.

Doorways define their flags, and import what is heavy only once they run.
"""

import dataclasses
import logging as standard_logging
import os
import sys
from collections.abc import Callable

from absl import app, flags, logging

from affwild_omg.errors import UserError


def run(main: Callable[[], None]) -> None:
    """Runs a command line.

    Exit codes: 0 done, 1 wrong flags (absl), 2 input that can't be used, 130
    interrupted.

    Args:
        main: called once the flags are parsed.
    """
    # TensorFlow's C++ side reports on start-up what concerns no user here.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    def guarded(argv):
        handler = logging.get_absl_handler()
        handler.setFormatter(standard_logging.Formatter("%(message)s"))
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.INFO)
        try:
            if len(argv) > 1:
                raise UserError(
                    f"{argv[1]!r} is no flag; flags look like --name=value"
                )
            main()
        except UserError as error:
            _fail(f"error: {error}", 2)
        except KeyboardInterrupt:
            _fail("interrupted", 130)

    app.run(guarded)


def _fail(message, code):
    sys.stdout.flush()
    sys.stderr.write(f"{' '.join(message.split())}\n")
    sys.exit(code)


def options(kind: type):
    """Returns the options dataclass filled from the flags of its fields."""
    return kind(
        **{
            field.name: flags.FLAGS[field.name].value
            for field in dataclasses.fields(kind)
        }
    )


def show(*lines: str) -> None:
    """Writes lines to standard output."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def define_overwrite(what: str) -> None:
    """Defines --overwrite."""
    flags.DEFINE_bool("overwrite", False, f"Replace {what} that is there.")
