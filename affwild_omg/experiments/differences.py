"""How a run differs from the row of the paper that it stands for."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Sequence

from affwild_omg.evaluation.results import Results
from affwild_omg.experiments import runs as places
from affwild_omg.published import networks, tables
from affwild_omg.published.tables import Row
from affwild_omg.training.options import OVERRIDES, TrainingOptions
from affwild_omg.weights import workdir as workdirs

# How the paper evaluates; the median was the better estimate (section 6.1).
_EVALUATION = {"split": places.TEST, "sequence_estimate": "median"}
_DEFAULTS = {x.name: x.default for x in dataclasses.fields(TrainingOptions)}
# Options of train.py that say where things lie, or that the network tells.
_ASIDE = {"records", "workdir", "seed", "architecture", "members", *OVERRIDES}
_ASIDE |= {"init_from", "init_strict"}


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
    for member in map(tables.find_run, row.members):
        common = set(places.find_seeds(runs, member)) & set(seeds)
        found += differences(member, runs, sorted(common), read)
    trainings, bare = [], []
    for seed in seeds if row.network else ():
        place = places.place(runs, row.folder, seed)
        provenance = read(place / places.TEST).provenance
        found += _of_network(provenance.network, row)
        if own := _trainings(place, provenance):
            trainings.append(own[-1])
            for training in own:
                found += _between(training, _wanted(row, training))
            if not own[0]["init_from"]:
                found.append("random first weights")
        elif provenance.model:  # of an earlier version, or a SavedModel
            found.append("training not recorded")
        for name, value in _EVALUATION.items():
            stated = getattr(provenance, name) or value
            found += _between({name: stated}, {name: value})
        if provenance.unmatched is not None:  # anyone's predictions
            found.append("post-processing not known")
        else:
            bare.append(not provenance.postprocessing)
    if any(bare):
        some = "no" if all(bare) else "some seeds without"
        found.append(f"{some} post-processing")
    told = [
        name
        for name in _DEFAULTS.keys() - {"seed", "workdir", "init_from"}
        if len({str(training[name]) for training in trainings}) > 1
    ]
    if told:
        found.append(f"seeds differ in {', '.join(sorted(told))}")
    return list(dict.fromkeys(found))


def _between(found, wanted):
    """Returns in what a dict differs from another, which has fewer names."""
    return [
        f"{name} {_shown(found[name])}, not {_shown(value)}"
        for name, value in wanted.items()
        if found[name] != value
    ]


def _shown(value):
    return "+".join(value) if isinstance(value, list | tuple) else str(value)


def _of_network(network, row):
    """Compares a network, as JSON has it, with a row's."""
    if network is None:
        return ["network not recorded"]
    wanted = dataclasses.asdict(networks.named(row.network, **row.overrides))
    found, wanted = _parts(network), _parts(json.loads(json.dumps(wanted)))
    if [part.keys() for part in found] != [part.keys() for part in wanted]:
        return ["another kind of network"]
    pairs = zip(found, wanted, strict=True)
    return [text for pair in pairs for text in _between(*pair)]


def _parts(network):
    """Returns a network's own fields, and those of the networks it fuses."""
    own = {name: x for name, x in network.items() if name != "members"}
    return [own, *network.get("members", ())]


def _trainings(place, provenance):
    """Returns the options of a run's trainings, pre-training first."""
    stated = []
    pretraining = workdirs.read_history(place / places.PRETRAINED) or {}
    if "options" in pretraining:  # that of an earlier version lacks them
        stated.append(pretraining["options"])
    if provenance.training:
        stated.append(provenance.training)
    return [_DEFAULTS | options for options in stated]


def _wanted(row, training):
    """Returns the options that a row's training should have."""
    wanted = _DEFAULTS | tables.to_flags(row)
    for strategy in tables.STRATEGIES.values():  # the paper used all of them
        if strategy.items() <= training.items():
            wanted |= strategy
    return {k: v for k, v in wanted.items() if k not in _ASIDE}
