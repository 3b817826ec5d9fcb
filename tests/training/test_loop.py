import dataclasses
import json
import pathlib
import zipfile

import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.nets import architectures
from affwild_omg.nets.architectures import Architecture


@pytest.fixture(scope="module")
def training(tf):
    from affwild_omg.training import loop as training

    return training


def weights_of(workdir, name):
    from affwild_omg.weights import model_file as model_files

    model, _ = model_files.load_model(pathlib.Path(workdir) / name)
    return [weight.numpy() for weight in model.weights]


def assert_same_weights(one, two, atol=0.0):
    for first, second in zip(one, two, strict=True):
        np.testing.assert_allclose(first, second, atol=atol)


def test_a_run_leaves_its_workdir(small_run):
    options, summary = small_run
    workdir = pathlib.Path(options.workdir)
    assert {path.name for path in workdir.iterdir()} == {
        "best.keras",
        "last.keras",
        "flags.cfg",
        "history.json",
        "tensorboard",
    }
    assert json.loads((workdir / "history.json").read_text()) == summary
    means = [entry["validation"]["mean_ccc"] for entry in summary["epochs"]]
    assert len(means) == 3
    assert summary["best_ccc"] == max(means)
    assert summary["best_epoch"] == 1 + int(np.argmax(means))


def test_only_the_last_model_holds_the_optimizer(small_run, tmp_path):
    import h5py

    for name, expected in (("best.keras", False), ("last.keras", True)):
        path = pathlib.Path(small_run[0].workdir) / name
        with zipfile.ZipFile(path) as archive:
            weights = archive.extract("model.weights.h5", tmp_path)
        with h5py.File(weights) as file:
            assert ("optimizer" in file) is expected


def test_an_earlier_run_gives_way_to_an_epoch_only(
    training, small_run, tmp_path, monkeypatch
):
    options = dataclasses.replace(
        small_run[0], workdir=str(tmp_path / "run"), epochs=1
    )
    first = training.train(options)

    def interrupted(self, epoch):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training._Run, "_train_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            training.train(options, overwrite=True)
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert history == first
    other = dataclasses.replace(options, seed=1)
    second = training.train(other, overwrite=True)
    assert second["epochs"][0]["loss"] != first["epochs"][0]["loss"]
    events = list((tmp_path / "run" / "tensorboard").iterdir())
    assert len(events) == 1


def test_a_network_starts_at_the_mean_label(training, small_run, tmp_path):
    from affwild_omg.data import pipeline

    options = dataclasses.replace(small_run[0], workdir=str(tmp_path))
    strategy = training.default_strategy()
    run = training._Run(
        options, training.card_of(options), strategy, resume=False
    )
    labels = pipeline.read_labels(options.records, "train")
    expected = np.mean(list(labels.values()), axis=0)
    bias = run.model.get_layer("output").bias
    np.testing.assert_allclose(bias, expected, rtol=1e-6)


def test_tensorboard_gets_its_scalars(tf, small_run):
    options, summary = small_run
    written = {}
    for file in pathlib.Path(options.workdir, "tensorboard").iterdir():
        for record in tf.data.TFRecordDataset(str(file)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                scalar = float(tf.make_ndarray(value.tensor))
                written.setdefault(value.tag, {})[event.step] = scalar
    assert set(written) == {
        "loss",
        "learning_rate",
        "frames_per_second",
        "validation/mean_ccc",
        "validation/ccc_valence",
        "validation/ccc_arousal",
    }
    for entry in summary["epochs"]:
        assert written["loss"][entry["epoch"]] == pytest.approx(entry["loss"])
    assert written["learning_rate"][1] == pytest.approx(1e-3)


def test_the_same_flags_give_the_same_run(training, small_run, tmp_path):
    options, _ = small_run
    again = dataclasses.replace(options, workdir=str(tmp_path / "again"))
    training.train(again)
    assert_same_weights(
        weights_of(options.workdir, "last.keras"),
        weights_of(again.workdir, "last.keras"),
    )


def test_a_resumed_run_ends_where_the_whole_one_does(
    training, small_run, tmp_path
):
    options, summary = small_run
    half = dataclasses.replace(options, workdir=str(tmp_path / "half"))
    training.train(dataclasses.replace(half, epochs=1))
    resumed = training.train(half, resume=True)
    losses = [
        [entry["loss"] for entry in run["epochs"]] for run in (summary, resumed)
    ]
    assert losses[0] == losses[1]
    assert_same_weights(
        weights_of(options.workdir, "last.keras"),
        weights_of(half.workdir, "last.keras"),
    )


def test_a_run_of_other_flags_is_not_resumed(training, small_run):
    options, _ = small_run
    with pytest.raises(UserError, match="--seed=0 became --seed=1"):
        training.train(dataclasses.replace(options, seed=1), resume=True)


def test_flagfile_holds_every_option(small_run):
    options, _ = small_run
    lines = pathlib.Path(options.workdir, "flags.cfg").read_text().splitlines()
    flags = dict(line.removeprefix("--").split("=", 1) for line in lines)
    given = {
        name
        for name, value in dataclasses.asdict(options).items()
        if value is not None
    }
    assert flags.keys() == given
    assert flags["learning_rate"] == "0.001"
    assert flags["shuffle_labels"] == "false"
    assert "taps" not in flags  # the network's own
    options = dataclasses.replace(options, taps=("pool2", "fc"))
    assert "--taps=pool2,fc\n" in options.to_flagfile()


def test_overrides_make_the_network(training, small_run):
    options = dataclasses.replace(
        small_run[0],
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


def start(training, options):
    """Returns a run that has not begun: its model as training starts."""
    strategy = training.default_strategy()
    return training._Run(
        options, training.card_of(options), strategy, resume=False
    )


def test_weights_come_from_an_earlier_run(training, small_run, tmp_path):
    """CNN to CNN-RNN: what fits is taken, the rest starts anew."""
    from affwild_omg.nets import parts

    cnn = dataclasses.replace(
        small_run[0],
        workdir=str(tmp_path / "cnn"),
        architecture="vgg_face",
        units=None,  # it has no GRUs
        epochs=1,
    )
    training.train(cnn)
    options = dataclasses.replace(
        small_run[0],
        workdir=str(tmp_path / "rnn"),
        init_from=cnn.workdir,
        epochs=1,
    )
    weights = parts.named_weights(start(training, options).model)
    from affwild_omg.weights import model_file as model_files

    model, _ = model_files.load_model(cnn.workdir)
    source = parts.named_weights(model)
    shared = [name for name in source if not name.startswith("output/")]
    assert len(shared) == 28  # 13 convolutions and fc
    for name in shared:
        np.testing.assert_array_equal(weights[name], source[name])
    # The output does not fit, so it starts at the mean label.
    assert weights["output/kernel"].shape != source["output/kernel"].shape
    training.train(options)
    text = (tmp_path / "rnn" / "initialisation.json").read_text()
    (report,) = json.loads(text)
    assert report["taken"] == shared
    assert set(report["left"]) == {"output/kernel", "output/bias"}
    assert set(report["taken"]) | set(report["fresh"]) == set(weights)


def test_the_output_is_taken_as_it_is(training, small_run, tmp_path):
    """From corpus to corpus nothing is rescaled, nor is the bias moved."""
    options = dataclasses.replace(
        small_run[0],
        workdir=str(tmp_path / "next"),
        init_from=small_run[0].workdir,
        init_strict=True,
    )
    assert_same_weights(
        weights_of(small_run[0].workdir, "best.keras"),
        start(training, options).model.weights,
    )


def test_members_of_a_fusion_bring_their_weights(training, small_run, tmp_path):
    from affwild_omg.nets import parts

    options = dataclasses.replace(
        small_run[0],
        workdir=str(tmp_path / "fusion"),
        architecture="model_fusion_rnn",
        members=[small_run[0].workdir, "cnn2_to_1rnn"],
        fusion_units=3,
        train="output",
        epochs=2,
    )
    members = options.network().members
    assert [member.recurrence for member in members] == ["per_tap", "joint"]
    before = parts.named_weights(start(training, options).model)
    before = {name: weight.numpy().copy() for name, weight in before.items()}
    training.train(options)
    from affwild_omg.weights import model_file as model_files

    model, card = model_files.load_model(options.workdir)
    assert card.architecture.members == members
    after = parts.named_weights(model)
    own, _ = model_files.load_model(small_run[0].workdir)
    for name, weight in parts.named_weights(own).items():
        if not name.startswith("output/"):
            np.testing.assert_array_equal(after[f"member1/{name}"], weight)
    moved = {
        name for name in after if not np.array_equal(after[name], before[name])
    }
    assert moved == {name for name in after if "member" not in name}
    assert len(moved) == 5  # kernel, bias and recurrence; kernel and bias


def test_flags_that_members_would_not_heed_are_refused(small_run):
    runs = dataclasses.replace(
        small_run[0],
        architecture="model_fusion_rnn",
        members=[small_run[0].workdir] * 2,
        width=None,
        units=None,
    )
    assert runs.network().members[0].units == 4
    with pytest.raises(UserError, match="--units changes no member"):
        dataclasses.replace(runs, units=9).network()
    # The fusion itself heeds these.
    network = dataclasses.replace(runs, fusion_units=9, gru="cudnn").network()
    assert (network.fusion_units, network.gru) == (9, "cudnn")
    assert network.members[0].gru == "reset_before"
    with pytest.raises(UserError, match="both bring weights"):
        dataclasses.replace(runs, init_from="anything")
    with pytest.raises(UserError, match="--members is empty"):
        dataclasses.replace(runs, members=[])


@pytest.mark.parametrize("trained", ["all", "head", "output"])
def test_only_what_is_trained_moves(training, small_run, tmp_path, trained):
    from affwild_omg.nets import parts

    options = dataclasses.replace(
        small_run[0], workdir=str(tmp_path), train=trained, batch_size=6
    )
    run = start(training, options)
    before = [weight.numpy().copy() for weight in run.model.weights]
    run._train_epoch(1)
    moved = {
        parts.part_of(weight.path.split("/")[0])
        for weight, value in zip(run.model.weights, before, strict=True)
        if not np.array_equal(weight, value)
    }
    assert moved == set(training.TRAINED[trained])


def test_parts_have_their_learning_rates(training, small_run, tmp_path):
    """Adam's first step is as long as the rate, whatever the gradient."""
    from affwild_omg.nets import parts

    options = dataclasses.replace(
        small_run[0],
        workdir=str(tmp_path),
        batch_size=14,
        learning_rate=1e-3,
        part_learning_rates=["cnn=1e-5", "rnn=1e-2"],
    )
    run = start(training, options)
    before = [weight.numpy().copy() for weight in run.model.weights]
    run._train_epoch(1)
    steps = dict.fromkeys(architectures.PARTS, 0.0)
    for weight, value in zip(run.model.weights, before, strict=True):
        part = parts.part_of(weight.path.split("/")[0])
        steps[part] = max(steps[part], np.abs(weight - value).max())
    expected = {"cnn": 1e-5, "fc": 1e-3, "rnn": 1e-2, "output": 1e-3}
    assert steps == pytest.approx(expected, rel=0.02)


def test_a_resumed_run_keeps_its_parts_and_rates(training, small_run, tmp_path):
    options = dataclasses.replace(
        small_run[0],
        workdir=str(tmp_path / "whole"),
        train="head",
        part_learning_rates=["fc=1e-4"],
        epochs=2,
    )
    half = dataclasses.replace(options, workdir=str(tmp_path / "half"))
    training.train(options)
    training.train(dataclasses.replace(half, epochs=1))
    training.train(half, resume=True)
    assert_same_weights(
        weights_of(options.workdir, "last.keras"),
        weights_of(half.workdir, "last.keras"),
    )


def test_a_flag_that_was_left_out_is_a_change(training, small_run):
    options = dataclasses.replace(small_run[0], units=None)
    with pytest.raises(UserError, match="--units=4 became no --units"):
        training.train(options, resume=True)


def test_patience_stops_early(training, small_run, tmp_path):
    options = dataclasses.replace(
        small_run[0],
        workdir=str(tmp_path / "run"),
        learning_rate=1e-12,  # nothing changes: no epoch beats the first
        epochs=9,
        patience=2,
    )
    assert len(training.train(options)["epochs"]) == 3


def test_shuffled_labels_are_the_same_labels_on_other_keys(training):
    labels = {str(i): np.array([i]) for i in range(20)}
    permuted = training._permuted(labels, seed=0)
    assert list(permuted) == list(labels)
    assert sorted(permuted.values()) == sorted(labels.values())
    assert sum(permuted[key] == labels[key] for key in labels) < 5


def one_step(tf, training, options, strategy):
    """Trains one epoch of one batch without dropout; returns the weights."""
    import keras

    card = training.card_of(options)
    card = dataclasses.replace(
        card,
        architecture=dataclasses.replace(
            card.architecture, fc_dropout=0.0, rnn_dropout=0.0
        ),
    )
    run = training._Run(options, card, strategy, resume=False)
    # Plain descent shows the gradient's size, which Adam would hide.
    with strategy.scope():
        run.optimizer = keras.optimizers.SGD(0.1)
        run.optimizer.build(run.model.trainable_variables)
    return run._train_epoch(1)["loss"], run.model.get_weights()


@pytest.mark.parametrize(
    "batch_size",
    [8, 14],  # of 8 windows: all real, and six that fill up
)
def test_two_replicas_take_the_step_of_one(
    tf, training, small_run, tmp_path, batch_size
):
    options = dataclasses.replace(
        small_run[0],
        workdir=str(tmp_path),
        sequence_length=3,
        batch_size=batch_size,
    )
    one = one_step(tf, training, options, tf.distribute.get_strategy())
    two = one_step(
        tf,
        training,
        options,
        tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]),
    )
    assert two[0] == pytest.approx(one[0], abs=1e-6)
    assert_same_weights(one[1], two[1], atol=1e-5)
    from affwild_omg.nets import models

    start = models.build(options.network(), 0).get_weights()
    moved = max(np.abs(x - y).max() for x, y in zip(start, one[1], strict=True))
    assert moved > 1e-3  # or the comparison would show nothing


def test_a_whole_run_works_on_two_replicas(tf, training, small_run, tmp_path):
    options = dataclasses.replace(
        small_run[0], workdir=str(tmp_path / "run"), epochs=2
    )
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    summary = training.train(options, strategy=strategy)
    losses = [entry["loss"] for entry in summary["epochs"]]
    # Dropout differs from one replica's, the data and the loss do not.
    assert losses == pytest.approx(
        [entry["loss"] for entry in small_run[1]["epochs"][:2]], abs=0.2
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 1}, "CCC needs two sequences"),
        ({"epochs": 0}, "--epochs must be at least 1"),
        ({"seed": -1}, "--seed must be from 0 to 4294967295, not -1"),
        ({"learning_rate": 0.0}, "--learning_rate must be above 0"),
        (
            {"loss_level": "video"},
            "--loss_level must be one of sequ",
        ),
        ({"train": "rnn"}, "--train must be one of all, head, output"),
        ({"init_strict": True}, "requires --init_from"),
        ({"part_learning_rates": ["gru=1"]}, "like cnn=1e-5.*not 'gru=1'"),
        ({"part_learning_rates": ["cnn=fast"]}, "not 'cnn=fast'"),
        ({"part_learning_rates": ["cnn=0"]}, "a rate above 0, not 'cnn=0'"),
        ({"part_learning_rates": ["fc=1", "fc=2"]}, "gives fc twice"),
        (
            {"train": "head", "part_learning_rates": ["cnn=1e-5"]},
            "to cnn, which --train=head leaves fixed",
        ),
    ],
)
def test_bad_options_are_named(small_run, change, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(small_run[0], **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"taps": ["pool9"]}, "taps must be one of .*vgg_face, not 'pool9'"),
        ({"taps": ["fc", "fc"]}, "taps names one of them twice"),
        (
            {"backbone": "resnet50", "taps": ["pool", "fc"]},
            "--width must be 1 with backbone resnet50",
        ),
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
            "--members=nowhere does not exist: it is no workdir",
        ),
        (
            {
                "architecture": "vgg_face",
                "units": None,
                "part_learning_rates": ["rnn=1e-3"],
            },
            "to rnn, which vgg_face does not have; it has cnn, fc, output",
        ),
    ],
)
def test_networks_that_cannot_be_are_refused(
    training, small_run, tmp_path, change, message
):
    options = dataclasses.replace(
        small_run[0], workdir=str(tmp_path / "run"), **change
    )
    with pytest.raises(UserError, match=message):
        training.train(options)
    assert not (tmp_path / "run").exists()


def test_an_earlier_run_is_not_overwritten(training, small_run):
    with pytest.raises(UserError, match="--workdir=.* is not empty"):
        training.train(small_run[0])


def test_nothing_is_left_of_a_run_without_an_epoch(
    training, small_run, tmp_path, monkeypatch
):
    options = dataclasses.replace(small_run[0], workdir=str(tmp_path / "run"))

    def interrupted(self, epoch):
        raise KeyboardInterrupt

    monkeypatch.setattr(training._Run, "_train_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        training.train(options)
    assert not (tmp_path / "run").exists()


def test_batches_that_cannot_be_split_are_refused(
    tf, training, small_run, tmp_path
):
    options = dataclasses.replace(
        small_run[0], workdir=str(tmp_path / "run"), batch_size=3
    )
    with pytest.raises(UserError, match="--batch_size=3 must be a multiple"):
        training.train(
            options,
            strategy=tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]),
        )
    assert not (tmp_path / "run").exists()


def test_nothing_is_left_when_the_architecture_is_unknown(
    training, small_run, tmp_path
):
    options = dataclasses.replace(
        small_run[0], workdir=str(tmp_path / "run"), architecture="cnn_9rnn"
    )
    with pytest.raises(UserError, match="cnn_3rnn"):
        training.train(options)
    assert not (tmp_path / "run").exists()
