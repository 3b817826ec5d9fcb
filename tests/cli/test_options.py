"""Options, as flags and back, and the rules of their fields."""

import dataclasses
from collections.abc import Sequence

import pytest
from absl import flags

from affwild_omg.cli import options
from affwild_omg.cli.errors import UserError
from affwild_omg.cli.options import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cooking(options.Checked):
    """What is cooked."""

    dish: str = option("The dish.")
    table: int = option("The table.", 3, choices=range(3, 9))
    heat: str = option("How hot.", "low", choices=("low", "high"))
    minutes: int = option("Minutes.", 5, least=1)
    cooks: int | None = option("Cooks.", None, least=1, most=4)
    rate: float = option("Eggs a minute.", 0.5, least=0)
    salted: bool | None = option("Whether there is salt.", None)
    herbs: Sequence[str] | None = option("The herbs.", None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Baking(options.Checked):
    """What is baked."""

    cake: str = option("The cake.")
    form: str = option("The form.")
    minutes: int = option("Minutes in the oven.", 60)
    glaze: bool = option("Whether there is a glaze.", False)


@pytest.fixture
def parse(monkeypatch):
    """Parses a command line by nothing but the flags defined here."""
    monkeypatch.setattr(flags, "FLAGS", flags.FlagValues())

    def parse(*line):
        flags.FLAGS.unparse_flags()
        flags.FLAGS(["command", *line])

    return parse


def test_options_are_read_as_they_were_written(parse):
    options.define(Cooking, overwrite="the meal")
    written = Cooking(
        dish="egg and toast",
        table=8,
        heat="high",
        cooks=2,
        rate=1e-5,
        salted=False,
        herbs=["dill", "chives"],
    )
    lines = options.to_flags(written)
    assert lines == [
        "--dish=egg and toast",
        "--table=8",
        "--heat=high",
        "--minutes=5",
        "--cooks=2",
        "--rate=1e-05",
        "--salted=false",
        "--herbs=dill,chives",
    ]
    parse(*lines)
    assert options.read(Cooking) == written


def test_what_is_not_given_keeps_its_default(parse):
    options.define(Cooking, overwrite="the meal")
    parse("--dish=egg")
    read = options.read(Cooking)
    assert read == Cooking(dish="egg")
    assert options.to_flags(read, defaults=False) == ["--dish=egg"]
    assert flags.FLAGS.overwrite is False
    assert flags.FLAGS["overwrite"].help == "Replace the meal."


@pytest.mark.parametrize(
    "wrong", ["--heat=warm", "--table=9", "--minutes=few", "--rate=fast"]
)
def test_flags_have_the_types_and_choices_of_their_fields(parse, wrong):
    options.define(Cooking, overwrite="the meal")
    with pytest.raises(flags.IllegalFlagValueError, match=wrong):
        parse("--dish=egg", wrong)


@pytest.mark.parametrize("given", [[], ["--dish="], ["--nobill"]])
def test_a_field_without_a_default_is_required(parse, given):
    flags.DEFINE_bool("bill", False, "Pay.", flag_values=flags.FLAGS)
    options.define(Cooking, overwrite="the meal")
    parse(*given)
    with pytest.raises(UserError, match="^--dish is missing; see --help$"):
        options.read(Cooking, unless=["bill"])
    parse(*given, "--bill")
    options.read(Cooking, unless=["bill"])


def test_of_two_kinds_that_is_read_whose_flags_are_given(parse):
    options.define(Cooking, Baking, overwrite="the meal")
    assert flags.FLAGS["minutes"].help == "Minutes."
    parse("--cake=plum", "--form=round", "--minutes=9", "--dish=")
    assert options.read(Cooking, Baking) == Baking(
        cake="plum", form="round", minutes=9
    )
    parse("--dish=egg")
    assert options.read(Cooking, Baking) == Cooking(dish="egg")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--minutes=9"], "--dish or --cake is missing; see --help"),
        (["--table=4"], "--dish is missing; see --help"),
        (["--glaze=false"], "--cake is missing; --form is missing; see"),
        (
            ["--dish=egg", "--noglaze"],
            "--dish does not go with --glaze; leave one of the two out",
        ),
    ],
)
def test_two_kinds_are_not_mixed(parse, given, message):
    options.define(Cooking, Baking, overwrite="the meal")
    parse(*given)
    with pytest.raises(UserError, match=f"^{message}"):
        options.read(Cooking, Baking)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heat": "warm"}, "--heat must be one of low, high, not 'warm'"),
        ({"table": 2}, "--table must be one of 3, 4, 5, 6, 7, 8, not 2"),
        ({"minutes": 0}, "--minutes must be at least 1, not 0"),
        ({"cooks": 5}, "--cooks must be from 1 to 4, not 5"),
        ({"cooks": 0}, "--cooks must be from 1 to 4, not 0"),
        ({"rate": float("nan")}, "--rate must be at least 0, not nan"),
    ],
)
def test_rules_of_single_fields_are_checked(change, message):
    with pytest.raises(UserError, match=f"^{message}$"):
        Cooking(dish="egg", **change)


def test_pairs_are_told_apart():
    texts = ["a=1", "b=c=2"]
    assert options.pairs("part", texts) == {"a": "1", "b": "c=2"}
    assert options.pairs("part", None) == {}
    for text in ("a", "=1", "a="):
        with pytest.raises(UserError, match=f"--part must .*, not '{text}'"):
            options.pairs("part", [text])
    with pytest.raises(UserError, match="--part gives a twice"):
        options.pairs("part", ["a=1", "a=2"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Delivery(options.Checked):
    """Where a meal comes from."""

    kitchen: str = option("The kitchen.", exists=True, address=True)
    guests: Sequence[str] | None = option("The guests.", None)
    cellar: str = option("The cellar.", "")


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("--kitchen=s3://bucket/kitchen", None),
        ("--cellar=12:30", None),
        ("--kitchen=s3:/bucket/kitchen", "must be like s3://bucket/folder"),
        ("--kitchen=s3:///kitchen", "must be like s3://bucket/folder"),
        ("--kitchen=nowhere", "--kitchen=nowhere does not exist"),
        ("--cellar=s3://bucket", "--cellar=s3://bucket is an address, but on"),
        ("--cellar=S3:/bucket", "is an address, but only a local path can be"),
        ("--guests=a,gs://b/c", "--guests=gs://b/c is an address, but only a"),
    ],
)
def test_addresses_are_told_from_paths(parse, flag, told):
    options.define(Delivery, overwrite=None)
    parse("--kitchen=s3://bucket", flag)
    if told is None:
        name, value = flag.removeprefix("--").split("=")
        assert getattr(options.read(Delivery), name) == value
        return
    with pytest.raises(UserError) as error:
        options.read(Delivery)
    assert told in str(error.value)
