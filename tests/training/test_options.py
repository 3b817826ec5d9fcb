"""Options of training alone: no TensorFlow is needed."""

import dataclasses

import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.nets.architectures import Architecture
from affwild_omg.training.options import TrainingOptions, flags_of

OPTIONS = TrainingOptions(records="r", workdir="w", width=0.03, units=4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 1}, "CCC needs two sequences"),
        ({"learning_rate": 0.0}, "--learning_rate must be above 0"),
        ({"learning_rate": float("nan")}, "--learning_rate must be above 0"),
        ({"checkpoint_every": "0"}, "must be epoch, or steps or minutes ab"),
        ({"checkpoint_every": "5 min"}, "10min, not '5 min'"),
        ({"keep_checkpoints": 0}, "--keep_checkpoints must be at least 1"),
        ({"ema": 1.0}, "--ema must be from 0 to 0.999999, not 1.0"),
        ({"clip_norm": float("inf")}, "--clip_norm must be from 0 to 1000000"),
        ({"weight_decay": -0.1}, "--weight_decay must be from 0 to 1, not"),
        ({"mse_weight": 0.0}, "--mse_weight must be above 0, not 0.0"),
        ({"mse_weight": 2.0}, "--mse_weight changes nothing in --loss=ccc;"),
        (
            {"ccc_sequences": 3},
            "--ccc_sequences=3 is less than --batch_size=4",
        ),
        (
            {"batch_size": 1, "ccc_sequences": 1},
            "--ccc_sequences must be at least 2",
        ),
        (
            {"schedule": "plateau", "patience": 3},
            "--patience=3 ends the training before any plateau",
        ),
        (
            {"schedule": "plateau", "warmup_steps": 1},
            "--warmup_steps does not go with --schedule=plateau",
        ),
        ({"plateau_patience": 5}, "--plateau_patience=5 changes nothing with"),
        ({"mix": ["1"]}, "--mix=1 must be a number above 0 for each of sev"),
        (
            {"records": "a,b", "mix": ["1", "0"]},
            "--mix=1,0 must be a number above 0 .*, which names 2",
        ),
        (
            {"records": "a,b", "shuffle_labels": True},
            "--shuffle_labels is a control on one corpus",
        ),
        (
            {"cache_features": "f"},
            "does not go with --train=all; leave one of the two out",
        ),
        (
            {"cache_features": "f", "train": "head", "augment": ["mirror"]},
            "does not go with --augment=mirror; leave one of the two out",
        ),
        ({"stride": 81}, "--stride=81 would leave out frames between windows"),
        ({"members": []}, "--members is empty"),
        ({"init_strict": True}, "--init_strict requires --init_from"),
        ({"other_landmarks": True}, "--other_landmarks requires --init_from"),
        ({"part_learning_rates": ["cnn=fast"]}, "not 'cnn=fast'"),
        ({"part_learning_rates": ["cnn=0"]}, "rates above 0, not 'cnn=0'"),
        ({"part_learning_rates": ["fc=1", "fc=2"]}, "gives fc twice"),
    ],
)
def test_bad_options_are_named(change, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(OPTIONS, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "cnn_9rnn"}, "cnn_3rnn"),
        ({"taps": ["pool9"]}, "--taps must be one of .*vgg_face, not 'pool9'"),
        ({"members": ["cnn_1rnn"]}, "--members is for model_fusion_rnn and"),
        ({"fusion_units": 5}, "fusion_units is for model_fusion_rnn and"),
        ({"architecture": "vgg_face"}, "--units changes nothing in vgg_face"),
        (
            {"taps": ["conv2_1"], "landmark_units": 5},
            "--landmark_units changes nothing in cnn_3rnn",
        ),
        (
            {"architecture": "model_fusion_fc", "members": ["cnn_1rnn"]},
            "members must be two networks or more, not 1",
        ),
        (
            {
                "architecture": "model_fusion_fc",
                "members": ["cnn_1rnn", "model_fusion_rnn"],
            },
            "one of them is a fusion",
        ),
        (
            {
                "architecture": "model_fusion_fc",
                "members": ["cnn_1rnn", "nowhere"],
            },
            "--members=nowhere does not exist",
        ),
    ],
)
def test_networks_that_cannot_be_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(OPTIONS, **change).network()


def test_overrides_make_the_network():
    options = dataclasses.replace(
        OPTIONS,
        architecture="cnn_2rnn_1fc",
        taps=["conv3_1", "fc"],
        landmark_units=5,
        targets=["arousal"],
        gru="cudnn",
        depth=1,
    )
    assert options.network() == Architecture(
        taps=("conv3_1", "fc"),
        width=0.03,
        units=4,
        landmark_units=5,
        head_units=128,
        targets=("arousal",),
        gru="cudnn",
        depth=1,
    )


def test_checkpoints_are_due_after_steps_or_minutes():
    limits = [
        dataclasses.replace(OPTIONS, checkpoint_every=x).checkpoint_limits()
        for x in ("epoch", "500", "10min")
    ]
    inf = float("inf")
    assert limits == [(inf, 1800), (500, inf), (inf, 600)]


def test_what_differs_from_another_run():
    """Epochs, patience and places may differ when a run goes on."""
    before = dataclasses.asdict(OPTIONS)
    after = dataclasses.replace(
        OPTIONS,
        records="elsewhere",
        workdir="moved",
        epochs=99,
        patience=0,
        checkpoint_every="10min",
        keep_checkpoints=5,
        units=None,
        seed=1,
        taps=("fc",),
    )
    assert after.changes_from(before) == [
        "no --taps became --taps=fc",
        "--units=4 became no --units",
        "--seed=0 became --seed=1",
    ]
    # JSON holds lists, and a history leaves out what is None.
    found = {name: x for name, x in dataclasses.asdict(after).items() if x}
    assert after.changes_from(found | {"taps": ["fc"], "seed": 1}) == []
    newer = {"seed": 1, "taps": ["fc"], "mixup": 0.2}
    assert after.changes_from(found | newer) == [
        "--mixup=0.2 is of another version of affwild_omg"
    ]


@pytest.mark.parametrize(
    ("network", "flags"),
    [
        (
            Architecture(taps=("fc", "pool5"), recurrence="joint", units=64),
            "--taps=fc,pool5 --recurrence=joint --units=64",
        ),
        (
            Architecture(
                taps=("fc",),
                recurrence="none",
                head_units=2000,
                units=7,  # of GRUs that it has not
                landmarks=False,
            ),
            "--taps=fc --recurrence=none --landmarks=false --head_units=2000",
        ),
        # No fc, which the landmarks would join.
        (Architecture(taps=("pool5",), landmarks=False), "--taps=pool5"),
    ],
)
def test_flags_give_the_network(network, flags):
    assert flags_of(network) == f"--architecture=cnn_3rnn {flags}"


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (["valence=0"], "must be like valence=1, .* 0, not 'valence=0'"),
        (["arousal=1"], "gives a weight to arousal; the network has valence"),
    ],
)
def test_weights_of_targets_are_checked(weights, message):
    own = dataclasses.replace(OPTIONS, target_weights=weights)
    with pytest.raises(UserError, match=message):
        own.loss_settings(["valence"])
