"""How the runs of a row differ from what the paper says of the row."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence

from affwild_omg.experiments.runs import HOLDOUT, PRETRAINED, TEST, Runs
from affwild_omg.published import networks, tables
from affwild_omg.published.tables import Row
from affwild_omg.training.options import EARLIER, OVERRIDES, TrainingOptions
from affwild_omg.weights import workdir as workdirs

# How the paper evaluates; the median was the better estimate (section 6.1).
_EVALUATION = {
    "split": TEST,
    "sequence_estimate": "median",
    "sequence_weights": "equal",
}
_DEFAULTS = {x.name: x.default for x in dataclasses.fields(TrainingOptions)}
# Options of train.py that say where things lie, or that the network tells.
_ASIDE = {"records", "workdir", "seed", "architecture", "members", *OVERRIDES}
_ASIDE |= {"init_from", "init_strict"}


def differences(row: Row, runs: Runs, seeds: Sequence[int]) -> list[str]:
    """Says how a row's runs differ from what the paper says, each once.

    What the paper leaves open, such as the epochs, is compared with train.py's
    defaults.

    Args:
        row: with the pre-training that was run.
        runs: where its runs lie, and those that it fuses.
        seeds: those that were run.

    Raises:
        UserError: a results folder cannot be read.
    """
    found, digests = [], set()
    for seed in seeds if row.fused else ():
        for member, own in runs.members(row, seed):
            if own in runs.seeds(member):
                found += differences(member, runs, [own])
    for seed in seeds if not row.fused else ():
        provenance = runs.read(row.folder, seed).provenance
        found += _of_network(provenance.network, row)
        digests.add(provenance.records_sha256)
        before, trained = _trainings(runs.place(row.folder, seed), provenance)
        own = _of_training(row, trained, pretraining=False)
        found += own
        found += [
            f"pre-training: {x}"
            for x in _of_training(row, before, pretraining=True)
            if x not in own
        ]
        first = before or trained
        if first and not first["init_from"]:
            found.append("random first weights")
        elif provenance.model and not trained:  # a SavedModel, or an old one
            found.append("training not recorded")
        stated = {
            k: getattr(provenance, k) or x for k, x in _EVALUATION.items()
        }
        found += _between(stated, _EVALUATION)
        if provenance.unmatched is not None:  # anyone's predictions
            found.append("post-processing not known")
        elif not provenance.postprocessing:
            found.append("no post-processing")
    if len(digests) > 1:
        found.append("seeds differ in records")
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


def _trainings(place: pathlib.Path, provenance):
    """Returns the options of a run's pre-training and training, or None."""
    before = workdirs.read_history(place / PRETRAINED) or {}
    # That of an earlier version lacks them.
    stated = [before.get("options"), provenance.training]
    return [options and _DEFAULTS | EARLIER | options for options in stated]


def _of_training(row, training, *, pretraining):
    """Compares the options of a training with those that it should have."""
    if not training:
        return []
    allowed = [  # the paper used all of its strategies
        tables.to_flags(row, name, pretraining=pretraining)
        for name in tables.STRATEGIES
    ]
    like = ("train", "learning_rate")
    flags = next(
        (x for x in allowed if all(x[k] == training[k] for k in like)),
        allowed[0],
    )
    wanted = {k: x for k, x in (_DEFAULTS | flags).items() if k not in _ASIDE}
    if pretraining and training["holdout"] == HOLDOUT:
        del wanted["holdout"]  # its corpus has no validation split
    return _between(training, wanted)
