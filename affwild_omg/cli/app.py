"""What every command line here shares: help that is quick, errors in a line.

Doorways define their flags, and import what is heavy only once they run.
"""

import dataclasses
import logging as standard_logging
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging

from affwild_omg.cli import progress
from affwild_omg.cli.errors import UserError

# What is defined here belongs to the doorway's own flags, shown by --help.
flags.disclaim_key_flags()


def run(main: Callable[[], None]) -> None:
    """Runs a command line.

    Exit codes: 0 done or help shown, 1 wrong flags, 2 input or output that
    can't be used, 130 interrupted.

    Args:
        main: called once the flags are parsed.
    """
    # TensorFlow's C++ side reports on start-up what concerns no user here.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Or TensorFlow takes all of a GPU, and a second command finds none.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    # Being told to stop is one thing, by whatever signal, and also where a
    # shell script has started us in the background, deaf to the first.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    app.run(lambda argv: guarded(main, argv), flags_parser=parse)


def parse(argv: list[str]) -> list[str]:
    """Parses the flags; exits with one line where they are wrong."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        _fail(f"error: {_plain(str(error))}; see --help", 1)
    except SystemExit:
        # absl ends help with 1, as if asking were a mistake.
        sys.exit(0)


def guarded(main: Callable[[], None], argv: list[str]) -> None:
    """Calls main; exits with one line where a user can mend the fault."""
    handler = logging.get_absl_handler()
    handler.setFormatter(standard_logging.Formatter("%(message)s"))
    handler.python_handler.stream = progress.Lines()
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
    except OSError as error:
        # A folder without permission, a full disk: no fault of the program.
        where = f"{error.filename}: " if error.filename else ""
        _fail(
            f"error: {where}{error.strerror or error}; name another place, "
            "or see to its permissions and free space",
            2,
        )
    except KeyboardInterrupt:
        _fail("interrupted", 130)


def _plain(message):
    """Says of a flag that is missing that it is missing, and shouts less."""
    message = re.sub(
        r"flag --(\w+)=None: Flag --\1 must have a value other than None\.",
        r"--\1 is missing;",
        message,
    )
    message = re.sub(
        r"flags .*: (--\w+ (?:is missing|goes with|or --))", r"\1", message
    )
    message = re.sub(r"(--\w+ is missing)\.", r"\1", message)
    return message.removeprefix("ERROR:: ").rstrip(".;")


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
    flags.DEFINE_bool("overwrite", False, f"Replace {what}.")


def require(*names: str, unless: Sequence[str]) -> None:
    """Makes flags required, unless one of some others is given."""
    for name in names:
        flags.register_multi_flags_validator(
            [name, *unless],
            lambda values: any(values.values()),
            f"--{name} is missing.",
        )


def require_one(*names: str) -> None:
    """Makes exactly one of some flags required."""
    flags.register_multi_flags_validator(
        names,
        lambda values: sum(v is not None for v in values.values()) == 1,
        f"{' or '.join(f'--{name}' for name in names)} must be given, and not "
        "both.",
    )


def require_with(name: str, *others: str) -> None:
    """Makes flags required where another is given, and refused where not."""
    for other in others:
        flags.register_multi_flags_validator(
            [name, other],
            lambda values, other=other: (
                (values[name] is None) == (values[other] is None)
            ),
            f"--{other} goes with --{name}, and --{name} with --{other}.",
        )
