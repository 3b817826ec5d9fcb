"""How a run differs from the row of the paper that it stands for."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Sequence

from affwild_omg.evaluation.results import Provenance, Results
from affwild_omg.experiments import runs as places
from affwild_omg.published import networks, tables
from affwild_omg.published.tables import Row
from affwild_omg.training.options import HISTORY, OVERRIDES, TrainingOptions

ESTIMATE = "median"  # the better one of section 6.1's
# Options of train.py that say where things lie, or that the network tells.
_ASIDE = {"records", "workdir", "architecture", "members", "init_strict"}
_ASIDE |= {"init_from", "seed", "train", "learning_rate", *OVERRIDES}


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
        UserError: a results folder cannot be read.
    """
    found = []
    for run in row.members:
        member = tables.find_run(run)
        common = set(places.find_seeds(runs / run)) & set(seeds)
        found += differences(member, runs, sorted(common), read)
    if row.members:
        return list(dict.fromkeys(found))
    network = networks.named(row.network, **row.overrides)
    expected = json.loads(json.dumps(dataclasses.asdict(network)))
    trainings, processed = [], set()
    for seed in seeds:
        place = places.place(runs, row.folder, seed)
        provenance = read(place / places.TEST).provenance
        found += _of_network(provenance.network, expected)
        trainings.append(_trainings(place, provenance))
        for training in trainings[-1]:
            found += _of_training(training, row)
        if trainings[-1] and not trainings[-1][0].get("init_from"):
            found.append("random first weights")
        found += _of_evaluation(provenance)
        processed.add(bool(provenance.postprocessing))
    if len(processed) > 1:
        found[found.index("no post-processing")] = (
            "some seeds without post-processing"
        )
    return list(dict.fromkeys([*found, *_among_seeds(trainings)]))


def _of_network(network, expected):
    if network is None:
        return ["network not recorded"]
    if network.keys() != expected.keys():
        return ["another kind of network"]
    found = [
        f"{name} {_shown(network[name])}, not {_shown(value)}"
        for name, value in expected.items()
        if name != "members" and network[name] != value
    ]
    members, theirs = network.get("members", ()), expected.get("members", ())
    if len(members) != len(theirs):
        return [*found, f"{len(members)} members"]
    for pair in zip(members, theirs, strict=True):
        found += _of_network(*pair)
    return found


def _trainings(place, provenance):
    """Returns the options of a run's trainings, pre-training first."""
    found = []
    path = place / places.PRETRAINED / HISTORY
    if path.is_file():
        found.append(json.loads(path.read_text(encoding="utf-8"))["options"])
    return found + ([provenance.training] if provenance.training else [])


def _of_training(training, row):
    """Compares options of train.py with the row's, and with the defaults."""
    wanted = {
        field.name: field.default
        for field in dataclasses.fields(TrainingOptions)
        if field.name not in _ASIDE
    } | {k: v for k, v in tables.to_flags(row).items() if k not in _ASIDE}
    found = []
    strategy = {x: training.get(x) for x in ("train", "learning_rate")}
    if strategy not in tables.STRATEGIES.values():
        found.append(
            "learning_rate {learning_rate} with train={train}".format(
                **strategy
            )
        )
    for name, default in wanted.items():
        value = training.get(name, default)
        if name == "shuffle_labels" and value:
            found.append("labels shuffled: a control")
        elif value != default:
            against = "" if default is None else f", not {default}"
            found.append(f"{name} {_shown(value)}{against}")
    return found


def _of_evaluation(provenance: Provenance):
    found = []
    if provenance.split not in (None, places.TEST):
        found.append(f"scored on {provenance.split}")
    if provenance.sequence_estimate not in (None, ESTIMATE):
        found.append(f"estimate {provenance.sequence_estimate}, not {ESTIMATE}")
    if provenance.unmatched is not None:  # anyone's predictions
        found.append("post-processing not known")
    elif not provenance.postprocessing:
        found.append("no post-processing")
    return found


def _among_seeds(trainings):
    """Says in which options the seeds' trainings differ from one another."""
    told = [
        field.name
        for field in dataclasses.fields(TrainingOptions)
        if field.name not in ("seed", "workdir", "init_from")
        and len(
            {str([one.get(field.name) for one in own]) for own in trainings}
        )
        > 1
    ]
    return [f"seeds differ in {', '.join(told)}"] if told else []


def _shown(value):
    return "+".join(value) if isinstance(value, list) else str(value)
