"""The paper's networks: names, parameter counts and sources.

Sections and tables are those of Kollias & Zafeiriou (2020).
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from affwild_omg.cli import wording
from affwild_omg.cli.errors import UserError, listed
from affwild_omg.cli.tables import Table
from affwild_omg.nets.architectures import Architecture, Fusion
from affwild_omg.published import tables


@dataclass(frozen=True)
class NetworkRow:
    """A network of the paper.

    Attributes:
        architecture: the network.
        parameters: number of its weights, trained or not.
        source: section, table or figure that describes it.
    """

    architecture: Architecture | Fusion
    parameters: int
    source: str


_CNN_3RNN = Architecture()
_CNN_1RNN = replace(_CNN_3RNN, recurrence="joint")
_CNN_2RNN = replace(_CNN_3RNN, taps=("pool5", "fc"))
_CNN2_TO_1RNN = replace(_CNN_2RNN, recurrence="joint")
_VGG_FACE = replace(_CNN_3RNN, taps=("fc",), recurrence="none")
_RESNET = replace(_VGG_FACE, backbone="resnet50", fc_units=1500)
_DENSENET = replace(_RESNET, backbone="densenet121")
_AFFWILDNET = replace(_RESNET, recurrence="per_tap")
_DENSENET_RNN = replace(_DENSENET, recurrence="per_tap")
_FUSION = Fusion(members=(_CNN_1RNN, _CNN_3RNN))

# Table 5 compares taps of CNN-3RNN.
_TABLE_5 = {
    ("conv4_1", "pool5", "fc"): 66_249_538,
    ("conv3_1", "pool5", "fc"): 94_561_090,
    ("conv2_1", "conv3_3", "fc"): 206_037_826,
    ("conv5_3", "pool5", "fc"): 45_015_874,
    ("conv3_2", "conv3_3", "conv4_1"): 144_918_850,
    ("conv3_3", "conv4_1", "conv4_2"): 118_967_106,
    ("conv2_1", "conv2_2", "conv3_1"): 284_116_290,
}

NETWORKS: Mapping[str, NetworkRow] = {
    "vgg_face": NetworkRow(_VGG_FACE, 34_158_402, "section 5.1, table 3"),
    "resnet50": NetworkRow(_RESNET, 26_868_214, "section 5.1, table 3"),
    "densenet121": NetworkRow(_DENSENET, 8_782_006, "section 5.1, table 3"),
    "affwildnet": NetworkRow(
        _AFFWILDNET, 27_589_694, "section 5.2.1, tables 2 and 3"
    ),
    "densenet_rnn": NetworkRow(
        _DENSENET_RNN, 9_503_486, "section 5.2, table 3"
    ),
    "cnn_1rnn": NetworkRow(_CNN_1RNN, 65_952_578, "section 5.3.2, table 3"),
    "cnn_3rnn": NetworkRow(
        _CNN_3RNN, 66_249_538, "section 5.3.1, tables 3 and 5"
    ),
    "cnn_2rnn": NetworkRow(_CNN_2RNN, 37_789_506, "section 5.3"),
    "cnn2_to_1rnn": NetworkRow(
        _CNN2_TO_1RNN, 37_641_026, "section 5.3, section 7.2"
    ),
    "cnn_2rnn_1fc": NetworkRow(
        replace(_CNN_2RNN, head_units=128), 37_822_146, "section 5.3"
    ),
    "cnn_3rnn_1fc": NetworkRow(
        replace(_CNN_3RNN, head_units=128), 66_298_306, "section 5.3"
    ),
    **{
        f"cnn_3rnn_{'_'.join(taps)}": NetworkRow(
            replace(_CNN_3RNN, taps=taps), parameters, "table 5"
        )
        for taps, parameters in _TABLE_5.items()
    },
    "model_fusion_rnn": NetworkRow(
        _FUSION, 132_447_490, "section 5.4.1, table 3"
    ),
    "model_fusion_fc": NetworkRow(
        replace(_FUSION, by="fc"), 132_267_010, "section 5.4.1, table 3"
    ),
}


def named(
    name: str,
    *,
    members: Sequence[Architecture | str] = (),
    **overrides,
) -> Architecture | Fusion:
    """Returns the network of that name, with some fields replaced.

    Args:
        name: a key of `NETWORKS`.
        members: networks or names that replace a fusion's own members.
        **overrides: fields of `Architecture`. In a fusion they apply to
            every member that is its own or given by name. `fusion_units` and
            `gru` apply to the fusion itself, `gru` to its members too.

    Raises:
        UserError: there is no such network, a field is out of range, or an
            override changes nothing.
    """
    if name not in NETWORKS:
        close = difflib.get_close_matches(name, NETWORKS, cutoff=0.3)
        raise UserError(
            "architecture must be a name that train.py --list_architectures "
            f"shows{f', such as {listed(close)}' * bool(close)}, not {name!r}"
        )
    network = NETWORKS[name].architecture
    if isinstance(network, Fusion):
        return _fusion(network, members, overrides)
    if members or "fusion_units" in overrides:
        fusions = [
            name
            for name, row in NETWORKS.items()
            if isinstance(row.architecture, Fusion)
        ]
        raise UserError(
            f"{'members' if members else 'fusion_units'} is for "
            f"{' and '.join(fusions)}; {name} is a single network: give "
            f"--architecture={fusions[0]}, or leave it out"
        )
    network = replace(network, **overrides)
    for field in overrides:
        if not network.uses(field):
            raise UserError(
                f"{field} changes nothing in {name} with taps "
                f"{', '.join(network.taps)} and recurrence "
                f"{network.recurrence}; leave it out"
            )
    return network


def _fusion(fusion, members, overrides):
    """Returns a fusion with some members and fields replaced."""
    own = {
        field: overrides[field]
        for field in ("fusion_units", "gru")
        if field in overrides
    }
    theirs = {k: v for k, v in overrides.items() if k != "fusion_units"}
    names = {row.architecture: name for name, row in NETWORKS.items()}
    members = members or [names[member] for member in fusion.members]
    if not any(isinstance(member, str) for member in members):
        for field in theirs.keys() - own.keys():
            raise UserError(
                f"{field} changes no member of this fusion; leave it out"
            )
    members = [
        named(member, **theirs) if isinstance(member, str) else member
        for member in members
    ]
    return replace(fusion, members=members, **own)


def list_networks() -> list[str]:
    """Returns `NETWORKS` as lines for a console.

    With each stands the CCC that the paper gives for it with post-processing,
    pre-trained on Aff-Wild2.
    """
    header = ["name", "backbone", "taps", "recurrence", "source", "parameters"]
    header.append("paper: CCC valence, arousal, mean")
    published = {
        row.folder: row.published
        for table in tables.TABLES.values()
        for row in table.rows
        if table.metric == "ccc"
    }
    rows = []
    for name, row in NETWORKS.items():
        scores = "-"
        if found := published.get(f"{name}-affwild2"):
            values = (found.valence, found.arousal, found.mean)
            scores = " ".join(map(wording.number, values))
        described = _described(row.architecture)
        rows.append(
            [name, *described, row.source, f"{row.parameters:,}", scores]
        )
    return Table(header, rows, words=5).lines()


def _described(network):
    """Returns a network's backbone, taps and recurrence."""
    if isinstance(network, Fusion):
        names = {row.architecture: name for name, row in NETWORKS.items()}
        members = " + ".join(names[member] for member in network.members)
        layer = "GRU" if network.by == "rnn" else "fc"
        return "fusion", members, f"{layer} {network.fusion_units}"
    stacks = {"none": 0, "joint": 1}.get(network.recurrence, len(network.taps))
    recurrence = wording.count(stacks, "GRU stack") if stacks else "none"
    if network.head_units:
        recurrence += f", fc {network.head_units}"
    return network.backbone, ", ".join(network.taps), recurrence
