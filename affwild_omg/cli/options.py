"""Options of commands: stated once, as the fields of a frozen dataclass.

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class PredictionOptions(options.Checked):
        model: str = option("SavedModel, workdir or .keras file.")
        sequence_length: int = option("Frames of a window.", 80, least=1)

A function takes such an object. The command that calls it makes flags of the
same names by `define` and fills the object from them by `read`.
"""

import dataclasses
import os
import re
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
    exists: bool = False,
    address: bool = False,
) -> typing.Any:
    """Returns a field of an options dataclass.

    Args:
        help: what it is, with its unit; --help adds the default, unless that
            is None.
        default: its value where none is given; without one it is required.
        choices: all values that are allowed.
        least: the lowest value that is allowed.
        most: the highest, where there is a lowest.
        exists: whether a command line must name a path that exists. `read`
            checks it, so that nobody waits for an import of TensorFlow first.
        address: whether it may be elsewhere, such as s3://bucket/folder; `read`
            refuses addresses of all others, which would be taken for paths.
    """
    metadata = {"help": help, "choices": choices, "exists": exists}
    metadata["address"] = address
    metadata |= {"least": least, "most": most}
    return dataclasses.field(default=default, metadata=metadata)


def is_address(text: str) -> bool:
    """Tells whether a text is an address and no path of this machine.

    So is s3:/bucket, a slip that would make a folder of that name.
    """
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text) is not None


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


def define(*kinds: type, overwrite: str | None) -> None:
    """Defines a flag for each field of some options dataclasses.

    Args:
        kinds: the dataclasses; of a field that several have, the first counts.
        overwrite: what the flag --overwrite replaces; None for no such flag.
    """
    fields = {}
    for kind in kinds:
        for field in dataclasses.fields(kind):
            fields.setdefault(field.name, field)
    for field in fields.values():
        _define(field)
    if overwrite is not None:
        _DEFINE[bool](
            "overwrite", False, f"Replace {overwrite}.", flag_values=flags.FLAGS
        )


def _define(field):
    kind, choices = kind_of(field), field.metadata["choices"]
    define, limits = _DEFINE[kind], {}
    if choices is not None and kind is int:
        limits = {"lower_bound": min(choices), "upper_bound": max(choices)}
    elif choices is not None:
        define, limits = flags.DEFINE_enum, {"enum_values": list(choices)}
    default = None if _is_required(field) else field.default
    define(
        field.name,
        # A default of a dataclass cannot be a list.
        default=list(default) if isinstance(default, tuple) else default,
        help=field.metadata["help"],
        flag_values=flags.FLAGS,
        **limits,
    )


def _is_required(field):
    return field.default is dataclasses.MISSING


def read(*kinds: type, unless: Collection[str] = ()):
    """Returns the options that the flags give.

    Args:
        kinds: a dataclass, or two of which one is meant: that whose own flags
            are given.
        unless: flags any of which makes all others optional.

    Raises:
        UserError: a field without a default is not given, flags of both
            dataclasses are, a path does not exist, or a value is not allowed.
    """
    given = {
        name
        for name in flags.FLAGS
        if flags.FLAGS[name].present
        and flags.FLAGS[name].value not in (None, "", [])
    }
    kind, missing = _meant(kinds, given)
    if missing and not any(flags.FLAGS[name].value for name in unless):
        told = "; ".join(f"--{name} is missing" for name in missing)
        raise UserError(f"{told}; see --help")
    values = {}
    for field in dataclasses.fields(kind):
        value = values[field.name] = flags.FLAGS[field.name].value
        if _addresses(field, value):
            continue
        if field.metadata["exists"] and value and not os.path.exists(value):
            wanted, *_ = field.metadata["help"].rstrip(".").split(" (default")
            raise UserError(f"--{field.name}={value} does not exist ({wanted})")
    return kind(**values)


def _addresses(field, value):
    """Tells whether a flag gives addresses.

    Raises:
        UserError: it takes none, or they are not of their form.
    """
    texts = value if isinstance(value, list) else [value]
    found = [x for x in texts if isinstance(x, str) and is_address(x)]
    for text in found:
        if not field.metadata["address"]:
            raise UserError(
                f"--{field.name}={text} is an address, but only a local path "
                "can be named here; copy what is there, or there to"
            )
        if not re.match(r"[a-z][a-z0-9+.-]+://[^/]+", text):
            raise UserError(
                f"--{field.name}={text} must be like s3://bucket/folder, or a "
                "local path"
            )
    return bool(found)


def _meant(kinds, given):
    """Returns which dataclass is meant, and which of its flags are missing."""
    names = [[field.name for field in dataclasses.fields(k)] for k in kinds]
    shared = set.intersection(*map(set, names))
    own = [[x for x in of if x in given and x not in shared] for of in names]
    if all(own):
        raise UserError(
            f"--{own[0][0]} does not go with --{own[1][0]}; leave one of the "
            "two out"
        )
    kind = kinds[1] if any(own[1:]) else kinds[0]
    missing = [
        field.name
        for field in dataclasses.fields(kind)
        if _is_required(field) and field.name not in given
    ]
    if len(kinds) > 1 and not any(own):
        either = " or --".join(of[0] for of in names)
        missing = [either, *(name for name in missing if name in shared)]
    return kind, missing


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
