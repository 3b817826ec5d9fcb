"""What all commands share: quick help, and errors in one line.

A command defines its flags, and imports what is heavy only once it runs.
"""

import contextlib
import functools
import logging as standard_logging
import os
import signal
import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging

from affwild_omg.cli import options, progress
from affwild_omg.cli.errors import UserError

# What is defined here belongs to the command's own flags, shown by --help.
flags.disclaim_key_flags()

_interrupts = []  # signals that told this process to stop


def command(
    *kinds: type,
    overwrite: str | None = None,
    unless: Sequence[str] = (),
    interrupted: str = "nothing was written",
) -> Callable[[Callable], Callable[[], None]]:
    """Makes a function of options the command of its file.

    Args:
        kinds: dataclass of the options, or two of which one is meant; their
            flags are defined at once.
        overwrite: what --overwrite replaces, which the function takes, too;
            without it there is no such flag.
        unless: flags any of which makes all others optional.
        interrupted: what stands after an interruption, and how to go on.
    """
    options.define(*kinds, overwrite=overwrite)

    def decorate(function):
        @functools.wraps(function)
        def main():
            given = options.read(*kinds, unless=unless)
            if overwrite is None:
                return function(given)
            function(given, overwrite=flags.FLAGS.overwrite)

        return functools.partial(run, main, interrupted)

    return decorate


def run(main: Callable[[], None], interrupted: str) -> None:
    """Runs a command line.

    Exit codes: 0 done or help shown, 2 flags, input or output that cannot be
    used, 130 interrupted.

    Args:
        main: called once the flags are parsed.
        interrupted: see `command`.
    """
    # A name that the terminal cannot show is no error.
    with contextlib.suppress(AttributeError):  # where there is no output
        sys.stdout.reconfigure(errors="backslashreplace")
    # TensorFlow's C++ side reports on start-up what concerns no user.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Or TensorFlow takes all memory of a GPU, and a second command finds none.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    _show_help_of(main.__module__)
    # Both signals interrupt; a shell script's background jobs ignore the first.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    app.run(lambda argv: guarded(main, argv, interrupted), flags_parser=parse)


def _interrupt(number, frame):
    _interrupts.append(number)
    raise KeyboardInterrupt


def _show_help_of(command):
    """Shows a command's help whatever script calls it, under a short name."""
    sys.modules["__main__"].__doc__ = sys.modules[command].__doc__
    module = sys.argv[0] if command == "__main__" else command
    sys.argv[0] = os.path.basename(sys.argv[0])
    for flag in flags.FLAGS.get_key_flags_for_module(module):
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)


def parse(argv: list[str]) -> list[str]:
    """Parses the flags; exits with one line where they are wrong."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        message = str(error).removeprefix("ERROR:: ").rstrip(".")
        # absl shows a tuple where its own error has two arguments.
        if cause := getattr(error.__context__, "args", ()):
            message = message.replace(str(cause), str(cause[0]))
        _fail(f"error: {message}; see --help")
    except SystemExit:
        # absl ends help with 1, as if asking were a mistake.
        sys.exit(0)


def guarded(
    main: Callable[[], None], argv: list[str], interrupted: str
) -> None:
    """Calls main; exits with one line where the user can correct the error."""
    handler = logging.get_absl_handler()
    handler.setFormatter(standard_logging.Formatter("%(message)s"))
    handler.python_handler.stream = progress.Lines()
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.INFO)
    try:
        if len(argv) > 1:
            raise UserError(
                f"{argv[1]!r} is not a flag; flags look like --name=value"
            )
        try:
            main()
        except Exception as error:
            # A library may make an error of its own of an interruption, as
            # TensorFlow does while it traces.
            if _interrupts:
                raise KeyboardInterrupt from error
            raise
    except UserError as error:
        _fail(f"error: {error}")
    except ConnectionError as error:
        where = f"{error.filename}: " if error.filename else ""
        with contextlib.suppress(SystemExit):
            _fail(f"error: {where}{error.strerror or error}; {interrupted}")
        # Threads that wait for the server yet would abort Python as it ends.
        os._exit(2)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(
            f"error: {where}{error.strerror or error}; check its permissions "
            "and the free space, or name another path"
        )
    except KeyboardInterrupt:
        _fail(f"interrupted: {interrupted}", 130)


def _fail(message, code=2):
    sys.stdout.flush()
    sys.stderr.write(f"{' '.join(message.split())}\n")
    sys.exit(code)


def show(*lines: str) -> None:
    """Writes lines to standard output."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()  # whoever waits for it may read through a pipe
