import dataclasses
import re

import numpy as np
import pytest

from affwild_omg.nets.architectures import VGG_CONVS, Fusion
from affwild_omg.published.networks import NETWORKS, named
from affwild_omg.published.tables import (
    CNNS,
    STRATEGIES,
    TABLES,
    Region,
    to_flags,
)
from affwild_omg.training.options import TrainingOptions

PAPER = {int(name): x for name, x in TABLES.items() if name.isdecimal()}
ROWS = {(x, row.key): row for x in PAPER for row in PAPER[x].rows}
TRAINED = [row for row in ROWS.values() if row.network]

# The tables once more, typed from the paper: label | its numbers, in its
# order. Where a line of the paper has several cells, so has a line here.
PRINTED = {
    3: """
VGG-Face | 0.378 (0.361) 0.203 (0.193) 0.291 (0.277)
DenseNet-121 | 0.365 (0.350) 0.191 (0.184) 0.278 (0.267)
ResNet-50 | 0.359 (0.344) 0.195 (0.189) 0.277 (0.267)
AffWildNet | 0.409 (0.390) 0.224 (0.219) 0.317 (0.305)
DenseNet-RNN | 0.394 (0.378) 0.211 (0.209) 0.303 (0.294)
CNN-1RNN-2nd-pool last-pool fc | 0.449 (0.441) 0.303 (0.297) 0.376 (0.369)
CNN-3RNN-2nd-pool last-pool fc | 0.472 (0.463) 0.329 (0.322) 0.401 (0.393)
Decision-level Fusion | 0.501 (0.482) 0.332 (0.321) 0.417 (0.402)
Model-level Fusion + FC | 0.518 (0.500) 0.348 (0.328) 0.433 (0.414)
Model-level Fusion + RNN | 0.535 (0.512) 0.365 (0.340) 0.450 (0.426)
""",
    4: """
CNN-1RNN-2nd-pool last-pool fc | .371 .210 | .419 .278 | .449 .303
CNN-3RNN-2nd-pool last-pool fc | .385 .192 | .448 .302 | .472 .329
Model-level Fusion + RNN | .431 .265 | .511 .342 | .535 .365
""",
    5: """
8th conv + last pool + fc | .416 .261 .339
5th conv + last pool + fc | .455 .322 .389
2nd pool + last pool + fc | .472 .329 .401
3rd conv + 7th conv + fc | .402 .267 .335
last conv + last pool + fc | .440 .248 .344
6th conv + 7th conv + 8th conv | .328 .162 .245
7th conv + 8th conv + 9th conv | .334 .172 .253
3rd conv + 4th conv + 5th conv | .345 .185 .265
""",
    6: """
CNN-1RNN-2nd-pool last-pool fc | .429 .291 .360 | .449 .303 .376
CNN-3RNN-2nd-pool last-pool fc | .454 .310 .382 | .472 .329 .401
Model-level Fusion + RNN | .524 .352 .438 | .535 .365 .450
""",
    7: """
CNN-3RNN-2nd-pool last-pool fc \
| .101 .031 | .055 .021 | .154 .061 | .110 .040 | .110 .041
""",
    8: """
VNet | .438 .244
ANet + VNet | .442 .236
openSMILE + LSTMs, VGG-FACE-BLSTM | .258 .277
openSMILE + LSTMs, VGG-FACE-BLSTM + openSMILE + LSTMs | .369 .286
openSMILE + LSTMs | .361 .293
Single Multi-Modal | .484 .345
Ensemble I | .496 .356
Ensemble II | .499 .361
CNN-3RNN-2nd-pool last-pool fc | .472 .329
Model-level Fusion + RNN | .535 .365
""",
}
# The headings and other words of the paper, cell by cell in the same order.
HEADINGS = {
    4: [
        "Trained from Scratch",
        "Pre-trained on Aff-Wild",
        "Pre-trained on Aff-Wild2",
    ],
    6: ["Without Landmarks", "With Landmarks"],
    7: [
        "V in [0,1], A in [0,0.5)",
        "V in [0,1], A in [0.5,1]",
        "V in [-1,0), A in [0,0.5)",
        "V in [-1,0), A in [0.5,1]",
        "V in [-1,1], A in [0,1]",
    ],
}


def printed(number):
    """Yields (label, numbers) of each cell of a table."""
    for line in PRINTED[number].strip().splitlines():
        label, *cells = line.split("|")
        for cell in cells:
            yield label.strip(), [float(n) for n in re.findall(r"\.\d+", cell)]


@pytest.mark.parametrize("number", range(3, 9))
def test_every_number_and_word_is_the_printed_one(number):
    table = PAPER[number]
    assert (int(table.name), table.metric == "mse") == (number, number == 7)
    cells = list(printed(number))
    for row, (label, numbers) in zip(table.rows, cells, strict=True):
        assert row.label == label
        sides = [x for x in (row.published, row.unprocessed) if x]
        assert numbers == [
            getattr(side, column) for column in table.columns for side in sides
        ]
    headings = HEADINGS.get(number, [""])
    headings = headings * (len(table.rows) // len(headings))
    assert [row.heading for row in table.rows] == headings


def test_one_folder_has_one_network_one_pretraining_and_one_score():
    assert len(ROWS) == sum(len(table.rows) for table in PAPER.values())
    firsts = {}
    for row in TRAINED:
        assert re.fullmatch(r"[a-z0-9_-]+", row.folder)
        first = firsts.setdefault(row.folder, row)
        assert to_flags(row) == to_flags(first)
        assert row.pretraining == first.pretraining
        if not isinstance(row, Region):  # an MSE
            assert row.published == first.published
    assert len(firsts) == 25
    # The other way about: what differs in nothing has no second name.
    names = {(str(to_flags(x)), x.pretraining) for x in firsts.values()}
    assert len(names) == len(firsts)


def test_each_row_is_trained_fused_or_another_system():
    # Table 4 compares them; its headings are those of the pre-trainings.
    pretrainings = dict(
        zip(HEADINGS[4], ["scratch", "affwild", "affwild2"], strict=True)
    )
    for (number, _), row in ROWS.items():
        other = number == 8 and row.label not in {x.label for x in TRAINED}
        expected = pretrainings.get(row.heading, "affwild2")
        assert row.pretraining == (None if other else expected)
        assert bool(row.folder) == (not other)
        assert bool(row.network or row.members) == (not other)
    fusion = ROWS[3, "decision_fusion"]
    assert [row for row in ROWS.values() if row.members] == [fusion]
    assert fusion.folder == "decision_fusion-affwild2"
    for found, key in zip(fusion.fused, ("cnn_1rnn", "cnn_3rnn"), strict=True):
        assert found.folder == ROWS[3, key].folder
        assert to_flags(found) == to_flags(ROWS[3, key])


def test_rows_that_are_not_pre_trained_have_folders_of_their_own():
    fusion = ROWS[3, "decision_fusion"].without_pretraining()
    folders = [row.folder for row in (fusion, *fusion.fused)]
    assert folders == [
        "decision_fusion-scratch",
        "cnn_1rnn-scratch",
        "cnn_3rnn-scratch",
    ]
    blind = ROWS[6, "cnn_3rnn_without_landmarks"].without_pretraining()
    assert blind.folder == "cnn_3rnn-landmarks_false-scratch"
    assert blind.overrides == {"landmarks": False}
    # Table 4's own are what they were.
    scratch = ROWS[4, "cnn_3rnn_scratch"]
    assert scratch.without_pretraining() == scratch


def test_table_5_counts_convolutions_as_the_paper_does():
    places = {"2nd pool": "pool2", "last pool": "pool5", "fc": "fc"}
    places["last conv"] = VGG_CONVS[-1]
    for index, tap in enumerate(VGG_CONVS, start=1):
        ending = {1: "st", 2: "nd", 3: "rd"}.get(index, "th")
        places[f"{index}{ending} conv"] = tap
    cnn_3rnn = NETWORKS["cnn_3rnn"].architecture
    for row in PAPER[5].rows:
        taps = tuple(places[word] for word in row.label.split(" + "))
        assert row.key == "_".join(taps)
        assert NETWORKS[row.network].architecture == dataclasses.replace(
            cnn_3rnn, taps=taps
        )


def test_table_6_takes_the_landmarks_away_and_no_more():
    for without, having in zip(
        PAPER[6].rows[::2], PAPER[6].rows[1::2], strict=True
    ):
        assert without.network == having.network
        with_them = named(having.network, **having.overrides)
        blind = named(without.network, **without.overrides)
        for sees, network in ((True, with_them), (False, blind)):
            members = (
                network.members if isinstance(network, Fusion) else [network]
            )
            assert all(member.sees_landmarks == sees for member in members)
        assert named(having.network, landmarks=False) == blind


def test_table_7_divides_the_plane():
    *quarters, everywhere = PAPER[7].rows
    random = np.random.default_rng(0)
    edges = np.array(np.meshgrid([-1, 0, 1], [0, 0.5, 1])).reshape(2, -1)
    inside = random.uniform([[-1], [0]], [[1], [1]], (2, 100))
    valence, arousal = np.concatenate([edges, inside], axis=1)
    assert everywhere.contains(valence, arousal).all()
    counts = sum(row.contains(valence, arousal).astype(int) for row in quarters)
    assert (counts == 1).all()
    assert [row.contains(0.0, 0.5) for row in quarters] == [0, 1, 0, 0]
    assert [row.contains(-0.1, 0.49) for row in quarters] == [0, 0, 1, 0]
    assert [row.contains(-0.1, 1.0) for row in quarters] == [0, 0, 0, 1]
    assert not any(row.contains(0.5, 1.1) for row in PAPER[7].rows)
    # The headings, which are printed, have the bounds, too.
    for row in PAPER[7].rows:
        numbers = [float(n) for n in re.findall(r"-?\d\.?\d*", row.heading)]
        assert numbers == [*row.valence, *row.arousal]


def test_flags_are_those_of_train_py():
    fields = {field.name for field in dataclasses.fields(TrainingOptions)}
    for row in TRAINED:
        flags = to_flags(row)
        assert set(flags) <= fields
        assert flags == {
            "architecture": row.network,
            **row.overrides,
            "sequence_length": 80,
            "batch_size": 4,
            "train": "all",
            "learning_rate": 1e-4 if row.network in CNNS else 1e-5,
        }
        named(row.network, **row.overrides)  # takes them


def test_strategies_have_the_rates_of_section_6_1():
    row = ROWS[3, "cnn_3rnn"]
    flags = {name: to_flags(row, name) for name in STRATEGIES}
    assert [(x["train"], x["learning_rate"]) for x in flags.values()] == [
        ("all", 1e-4),
        ("all", 1e-5),
        ("head", 1e-3),
    ]
    # The CNN learns before it is fixed.
    before = [to_flags(row, name, pretraining=True) for name in STRATEGIES]
    assert [(x["train"], x["learning_rate"]) for x in before] == [
        ("all", 1e-4),
        ("all", 1e-5),
        ("all", 1e-5),
    ]
    # The strategies are the CNN-RNNs'; CNNs have a rate of their own.
    for key in ("vgg_face", "resnet50", "densenet121"):
        for name in STRATEGIES:
            flags = to_flags(ROWS[3, key], name)
            assert (flags["train"], flags["learning_rate"]) == ("all", 1e-4)
    alone = {x.network for x in TRAINED if "rnn" not in x.network}
    assert alone - {"affwildnet", "model_fusion_fc"} == set(CNNS)


def test_comparisons_of_the_text_have_no_numbers_but_the_tables():
    published = {row.folder: row.published for row in TABLES["3"].rows}
    comparisons = [x for x in TABLES.values() if not x.name.isdecimal()]
    assert [table.name for table in comparisons] == [
        "tasks",
        "lengths",
        "encoders",
        "trainings",
        "submissions",
    ]
    for table in comparisons:
        assert table.heading.startswith("Section ") and table.says
        folders = [row.folder for row in table.rows]
        folders += [part.folder for row in table.rows for part in row.fused]
        assert all(re.fullmatch(r"[a-z0-9_-]+", x) for x in folders)
        for row in table.rows:
            assert row.published == published.get(row.folder)
            for part in row.fused or [row]:
                named(part.network, **part.overrides)
                assert not part.fused
    # Nothing that is trained in two ways has one folder.
    trained = {
        part.folder: (str(to_flags(part)), part.fold, part.pretraining)
        for table in TABLES.values()
        for row in table.rows
        for part in row.fused or [row]
        if part.network
    }
    assert len(set(trained.values())) == len(trained)


def test_what_averages_and_fusions_are_made_of():
    def parts(table, key):
        (row,) = [x for x in TABLES[table].rows if x.key == key]
        return [part.folder for part in row.fused]

    assert parts("tasks", "uni_task") == [
        "cnn_3rnn-targets_valence-affwild2",
        "cnn_3rnn-targets_arousal-affwild2",
    ]
    assert parts("trainings", "repeated") == ["cnn_3rnn-affwild2"]
    assert parts("trainings", "cross_validated") == [
        f"cnn_3rnn-fold_{number}-affwild2" for number in range(10)
    ]
    for number in (1, 2, 3):  # section 7.2
        assert parts("submissions", f"submission_{number}") == [
            "cnn2_to_1rnn-affwild",
            "cnn_3rnn_conv5_3_pool5_fc-affwild",
        ]
