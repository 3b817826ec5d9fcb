"""Options of commands: stated once, as the fields of a frozen dataclass.

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class PredictionOptions(options.Checked):
        model: str = option("SavedModel, workdir or .keras file.")
        sequence_length: int = option("Frames of a window.", 80, least=1)

A function takes such an object. The command that calls it makes flags of the
same names by `define` and fills the object from them by `read`.
"""

import dataclasses
import types
import typing
from collections.abc import Collection

from absl import flags

from affwild_omg.cli.errors import UserError

# What is defined here belongs to the command's own flags, shown by --help.
flags.disclaim_key_flags()


_DEFINE = {
    str: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
    list: flags.DEFINE_list,
}


def option(
    help: str,
    default: object = dataclasses.MISSING,
    *,
    choices: Collection | None = None,
    least: int | None = None,
    most: int | None = None,
) -> typing.Any:
    """Returns a field of an options dataclass.

    Args:
        help: what it is, with its unit; --help adds the default.
        default: its value where none is given; without one it is required.
        choices: all values that are allowed.
        least: the lowest value that is allowed.
        most: the highest, where there is a lowest.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "help": help,
            "choices": choices,
            "least": least,
            "most": most,
        },
    )


class Checked:
    """Base of options dataclasses that checks the rules of single fields."""

    def __post_init__(self):
        """Raises UserError, which names the flag, if a value is not allowed."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            choices, least, most = (
                field.metadata.get(rule)
                for rule in ("choices", "least", "most")
            )
            if value is None:
                continue
            if choices is not None and value not in choices:
                raise UserError(
                    f"--{field.name} must be one of "
                    f"{', '.join(map(str, choices))}, not {value!r}"
                )
            if most is not None and not least <= value <= most:
                raise UserError(
                    f"--{field.name} must be from {least} to {most}, not "
                    f"{value}"
                )
            if least is not None and not value >= least:
                raise UserError(
                    f"--{field.name} must be at least {least}, not {value}"
                )


def kind_of(field: dataclasses.Field) -> type:
    """Returns str, int, float, bool or list, whatever "| None" allows."""
    kind = field.type
    if isinstance(kind, types.UnionType):
        kind, _ = typing.get_args(kind)
    return list if typing.get_origin(kind) else kind


def define(
    *kinds: type, overwrite: str = "", unless: Collection[str] = ()
) -> None:
    """Defines a flag for each field of some options dataclasses.

    A flag is required if its field has no default in any of them.

    Args:
        kinds: the dataclasses; of a field that several have, the first counts.
        overwrite: what the flag --overwrite replaces; "" defines no such flag.
        unless: flags any of which makes the others optional.
    """
    fields = {}
    for kind in kinds:
        for field in dataclasses.fields(kind):
            fields.setdefault(field.name, []).append(field)
    for field, *_ in fields.values():
        _define(field)
    if overwrite:
        flags.DEFINE_bool(
            "overwrite",
            False,
            f"Replace {overwrite}.",
            flag_values=flags.FLAGS,
        )
    for name, of in fields.items():
        if len(of) == len(kinds) and all(_is_required(field) for field in of):
            require(name, unless=unless)


def _define(field):
    kind, choices = kind_of(field), field.metadata["choices"]
    define, limits = _DEFINE[kind], {}
    if choices is not None and kind is int:
        limits = {"lower_bound": min(choices), "upper_bound": max(choices)}
    elif choices is not None:
        define, limits = flags.DEFINE_enum, {"enum_values": list(choices)}
    define(
        field.name,
        default=None if _is_required(field) else field.default,
        help=field.metadata["help"],
        flag_values=flags.FLAGS,
        **limits,
    )


def _is_required(field):
    return field.default is dataclasses.MISSING


def require(*names: str, unless: Collection[str] = ()) -> None:
    """Makes flags required, unless one of some others is given."""
    for name in names:
        _validate(
            [name, *unless],
            lambda values: any(values.values()),
            f"--{name} is missing.",
        )


def require_one(*names: str) -> None:
    """Makes exactly one of some flags required."""
    _validate(
        names,
        lambda values: sum(v is not None for v in values.values()) == 1,
        f"{' or '.join(f'--{name}' for name in names)} must be given, and not "
        "both.",
    )


def require_with(name: str, other: str) -> None:
    """Makes two flags required together, or neither."""
    _validate(
        [name, other],
        lambda values: (values[name] is None) == (values[other] is None),
        f"--{other} goes with --{name}, and --{name} with --{other}.",
    )


def _validate(names, rule, message):
    flags.register_multi_flags_validator(
        names, rule, message, flag_values=flags.FLAGS
    )


def read(kind: type):
    """Returns an options dataclass filled from the flags of its fields.

    Raises:
        UserError: a value is not allowed.
    """
    return kind(
        **{
            field.name: flags.FLAGS[field.name].value
            for field in dataclasses.fields(kind)
        }
    )


def to_flags(options, *, defaults: bool = True) -> list[str]:
    """Returns an options object as flags, "--name=value" each.

    Args:
        options: a dataclass whose fields are the flags.
        defaults: whether to give those, too, that are left at their defaults;
            what is None is never given.
    """
    values = {
        field.name: getattr(options, field.name)
        for field in dataclasses.fields(options)
        if defaults or getattr(options, field.name) != field.default
    }
    return [
        to_flag(name, value)
        for name, value in values.items()
        if value is not None
    ]


def to_flag(name: str, value: object) -> str:
    """Returns "--name=value", as absl reads it."""
    if isinstance(value, bool):
        value = str(value).lower()
    elif isinstance(value, list | tuple):
        value = ",".join(map(str, value))
    return f"--{name}={value}"
