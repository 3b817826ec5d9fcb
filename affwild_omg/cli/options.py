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
    rules = {"choices": choices, "least": least, "most": most}
    return dataclasses.field(default=default, metadata={"help": help} | rules)


class Checked:
    """Base of options dataclasses that checks the rules of single fields."""

    def __post_init__(self):
        """Raises UserError, which names the flag, if a value is not allowed."""
        for field in dataclasses.fields(self):
            value, rule = getattr(self, field.name), None
            choices = field.metadata["choices"]
            least, most = field.metadata["least"], field.metadata["most"]
            if value is None:
                continue
            if choices is not None and value not in choices:
                rule = f"one of {', '.join(map(str, choices))}"
            elif most is not None and not least <= value <= most:
                rule = f"from {least} to {most}"
            elif least is not None and not value >= least:
                rule = f"at least {least}"
            if rule:
                raise UserError(f"--{field.name} must be {rule}, not {value!r}")


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
    found = {}
    for kind in kinds:
        for field in dataclasses.fields(kind):
            found.setdefault(field.name, []).append(field)
    for name, fields in found.items():
        _define(fields[0])
        required = [field.default is dataclasses.MISSING for field in fields]
        if sum(required) == len(kinds):
            require(name, unless=unless)
    if overwrite:
        _DEFINE[bool](
            "overwrite",
            False,
            f"Replace {overwrite}.",
            flag_values=flags.FLAGS,
        )


def _define(field):
    kind, choices = kind_of(field), field.metadata["choices"]
    define, limits = _DEFINE[kind], {}
    if choices is not None and kind is int:
        limits = {"lower_bound": min(choices), "upper_bound": max(choices)}
    elif choices is not None:
        define, limits = flags.DEFINE_enum, {"enum_values": list(choices)}
    define(
        field.name,
        default=None if field.default is dataclasses.MISSING else field.default,
        help=field.metadata["help"],
        flag_values=flags.FLAGS,
        **limits,
    )


def require(*names: str, unless: Collection[str] = ()) -> None:
    """Makes flags required, unless one of some others is given."""
    for name in names:
        flags.register_multi_flags_validator(
            [name, *unless],
            lambda values: any(values.values()),
            f"--{name} is missing.",
            flag_values=flags.FLAGS,
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
    """Returns options as flags, "--name=value" each.

    Args:
        options: a dataclass whose fields are the flags.
        defaults: give those, too, that are left at their defaults; what is
            None is never given.
    """
    values = {
        field.name: getattr(options, field.name)
        for field in dataclasses.fields(options)
        if defaults or getattr(options, field.name) != field.default
    }
    return [to_flag(*x) for x in values.items() if x[1] is not None]


def to_flag(name: str, value: object) -> str:
    """Returns "--name=value", as absl reads it."""
    if isinstance(value, bool):
        value = str(value).lower()
    elif isinstance(value, list | tuple):
        value = ",".join(map(str, value))
    return f"--{name}={value}"


def pairs(flag: str, texts: Collection[str] | None) -> dict[str, str]:
    """Returns the "name=value" texts of a flag as {name: value}.

    Raises:
        UserError: a text is of another form, or a name is given twice.
    """
    found = {}
    for text in texts or ():
        name, _, value = text.partition("=")
        if not (name and value):
            raise UserError(
                f"--{flag} must be like name=value,name=value, not {text!r}"
            )
        if name in found:
            raise UserError(f"--{flag} gives {name} twice")
        found[name] = value
    return found
