"""In what a run differs from the row of the paper that it stands for."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence

from affwild_omg.evaluation.results import Results
from affwild_omg.experiments import runs as places
from affwild_omg.nets import architectures
from affwild_omg.nets.architectures import Fusion
from affwild_omg.published import tables
from affwild_omg.published.tables import Row
from affwild_omg.training.options import (
    FLAGFILE,
    OVERRIDES,
    TrainingOptions,
    flags_in,
)

ESTIMATE = "median"  # the better one of section 6.1's
# Of train.py: where things lie, and what the network tells by itself.
_ASIDE = (
    "records",
    "workdir",
    "architecture",
    "members",
    "init_from",
    "init_strict",
    "seed",
    *OVERRIDES,
)


def differences(
    row: Row,
    runs: pathlib.Path,
    seeds: Sequence[int],
    read: Callable[[pathlib.Path], Results],
) -> list[str]:
    """Says how a row's runs differ from what the paper says, each once.

    What the paper leaves open, such as the epochs, is compared with train.py's
    defaults.

    Args:
        row: with the pre-training that was run.
        runs: folder of the runs.
        seeds: those that were run.
        read: reads the results in a folder.

    Raises:
        UserError: a results folder can't be read.
    """
    found = []
    if row.members:
        for run in row.members:
            member = tables.find_run(run)
            common = set(places.find_seeds(runs / run)) & set(seeds)
            found += differences(member, runs, sorted(common), read)
        return list(dict.fromkeys(found))
    expected = architectures.named(row.network, **row.overrides)
    all_flags, all_steps = [], set()
    for seed in seeds:
        place = places.place(runs, row.folder, seed)
        metrics = read(place / places.TEST).metrics
        found += _of_network(metrics.get("network"), expected)
        workdirs = [
            flags
            for name in (places.PRETRAINED, places.WORKDIR)
            if (flags := _read_flags(place / name))
        ]
        all_flags.append(workdirs)
        for flags in workdirs:
            found += _of_training(flags, row)
        if workdirs and "init_from" not in workdirs[0]:
            found.append("random first weights")
        found += _of_evaluation(metrics)
        all_steps.add(bool(metrics.get("postprocessing")))
    if len(all_steps) > 1:
        found[found.index("no post-processing")] = (
            "some seeds without post-processing"
        )
    return list(dict.fromkeys([*found, *_among_seeds(all_flags)]))


def _of_network(network, expected):
    if not network:
        return ["network not recorded"]
    try:
        network = architectures.from_dict(network)
    except (TypeError, ValueError):
        return ["network not known here"]
    return _between(network, expected)


def _between(network, expected):
    if type(network) is not type(expected):
        return ["another kind of network"]
    if not isinstance(network, Fusion):
        return [
            f"{field.name} {_shown(here)}, not {_shown(there)}"
            for field in dataclasses.fields(network)
            for here, there in [
                (getattr(network, field.name), getattr(expected, field.name))
            ]
            if here != there
        ]
    found = [
        f"{name} {getattr(network, name)}, not {getattr(expected, name)}"
        for name in ("by", "fusion_units", "gru")
        if getattr(network, name) != getattr(expected, name)
    ]
    if len(network.members) != len(expected.members):
        return [*found, f"{len(network.members)} members"]
    for pair in zip(network.members, expected.members, strict=True):
        found += _between(*pair)
    return found


def _of_training(flags, row):
    """Compares flags of train.py with the row's, and with the defaults."""
    wanted = {
        field.name: field.default
        for field in dataclasses.fields(TrainingOptions)
    } | tables.to_flags(row)
    strategies = [
        (str(strategy["train"]), float(strategy["learning_rate"]))
        for strategy in tables.STRATEGIES.values()
    ]
    found = []
    for name, text in flags.items():
        if name in _ASIDE or name not in wanted:
            continue
        if name == "train":
            if (text, float(flags.get("learning_rate", 0))) not in strategies:
                found.append(
                    f"learning_rate {flags.get('learning_rate')} with "
                    f"train={text}"
                )
        elif name == "shuffle_labels":
            if text == "true":
                found.append("labels shuffled: a control")
        elif name != "learning_rate" and text != str(wanted[name]):
            default = wanted[name]
            found.append(
                f"{name} {text}" + (f", not {default}" * (default is not None))
            )
    return found


def _of_evaluation(metrics):
    found = []
    split = metrics.get("split", places.TEST)
    if split != places.TEST:
        found.append(f"scored on {split}")
    estimate = metrics.get("sequence_estimate", ESTIMATE)
    if estimate != ESTIMATE:
        found.append(f"estimate {estimate}, not {ESTIMATE}")
    if "unmatched" in metrics:  # anyone's predictions
        found.append("post-processing not known")
    elif not metrics.get("postprocessing"):
        found.append("no post-processing")
    return found


def _among_seeds(all_flags):
    """Says in which flags the seeds' trainings differ from one another."""
    names = dict.fromkeys(
        name
        for workdirs in all_flags
        for flags in workdirs
        for name in flags
        if name not in ("seed", "workdir", "init_from")
    )
    told = [
        name
        for name in names
        if len(
            {
                tuple(flags.get(name) for flags in workdirs)
                for workdirs in all_flags
            }
        )
        > 1
    ]
    return [f"seeds differ in {', '.join(told)}"] if told else []


def _read_flags(workdir):
    """Returns {name: text} of a workdir's flags, {} where there are none."""
    path = workdir / FLAGFILE
    return flags_in(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _shown(value):
    return "+".join(value) if isinstance(value, tuple) else str(value)
