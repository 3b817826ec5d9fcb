import dataclasses
import json
import pathlib
import shutil
import zipfile

import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.data import features
from affwild_omg.nets import architectures
from tests.conftest import write_records_folder
from tests.evaluation.test_evaluator import CLIPS, SOURCES, with_sources
from tests.evaluation.test_results import ccc_by_hand


@pytest.fixture(scope="module")
def training(tf):
    from affwild_omg.training import loop

    return loop


@pytest.fixture(scope="module")
def tiny_run(training, small_run, tmp_path_factory):
    """Options and summary of a run that is traced fast: one GRU on one tap."""
    options = dataclasses.replace(
        small_run[0],
        workdir=str(tmp_path_factory.mktemp("tiny") / "run"),
        taps=["fc"],
        depth=1,
        epochs=1,
    )
    return options, training.train(options)


@pytest.fixture
def tiny(tiny_run, tmp_path):
    """The options of the tiny run, for a workdir of its own."""
    return dataclasses.replace(tiny_run[0], workdir=str(tmp_path / "run"))


@pytest.fixture
def interrupted(training, monkeypatch):
    """Lets training stop within an epoch, by default whatever is its first."""

    def interrupted(*args, within=None, **settings):
        train_epoch = training._Run._train_epoch

        def stop(self, epoch):
            if within in (None, epoch):
                raise KeyboardInterrupt
            return train_epoch(self, epoch)

        with monkeypatch.context() as patch:
            patch.setattr(training._Run, "_train_epoch", stop)
            with pytest.raises(KeyboardInterrupt):
                training.train(*args, **settings)

    return interrupted


def start(training, options, card=None, strategy=None, **settings):
    """Returns a run that has not begun: its model as training starts."""
    return training._Run(
        options,
        training.validation.read(options),
        card or training.card_of(options),
        strategy or training.default_strategy(),
        **settings,
    )


def weights_of(workdir, name):
    from affwild_omg.weights import model_file

    model, _ = model_file.load_model(pathlib.Path(workdir) / name)
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
        "checkpoints",
        "flags.cfg",
        "history.json",
        "tensorboard",
    }
    assert json.loads((workdir / "history.json").read_text()) == summary
    means = [entry["validation"]["mean_ccc"] for entry in summary["epochs"]]
    assert len(means) == 3
    assert summary["best_ccc"] == max(means)
    assert summary["best_epoch"] == 1 + int(np.argmax(means))


def test_the_options_are_stated_as_values_and_as_flags(small_run):
    options, summary = small_run
    given = {
        name: value
        for name, value in dataclasses.asdict(options).items()
        if value is not None
    }
    assert summary["options"] == given
    lines = pathlib.Path(options.workdir, "flags.cfg").read_text().splitlines()
    flags = dict(line.removeprefix("--").split("=", 1) for line in lines)
    assert flags.keys() == given.keys()
    assert flags["learning_rate"] == "0.001"
    assert flags["shuffle_labels"] == "false"
    assert "taps" not in flags  # the network's own


def test_only_the_last_model_holds_the_optimizer(small_run, tmp_path):
    import h5py

    for name, expected in (("best.keras", False), ("last.keras", True)):
        path = pathlib.Path(small_run[0].workdir) / name
        with zipfile.ZipFile(path) as archive:
            weights = archive.extract("model.weights.h5", tmp_path)
        with h5py.File(weights) as file:
            assert ("optimizer" in file) is expected


def test_tensorboard_gets_its_scalars(tf, small_run):
    options, summary = small_run
    written = {}
    for file in pathlib.Path(options.workdir, "tensorboard").iterdir():
        for record in tf.data.TFRecordDataset(str(file)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars":
                    scalar = float(tf.make_ndarray(value.tensor))
                    written.setdefault(value.tag, {})[event.step] = scalar
    assert {tag for tag in written if not tag.startswith("step/")} == {
        "loss",
        "frames_per_second",
        "validation/mean_ccc",
        "validation/best_mean_ccc",
        "validation/ccc_valence",
        "validation/ccc_arousal",
        *(
            f"{measure}/{tap}"
            for measure in ("feature_rms", "gradient_norm", "saturated_gates")
            for tap in ("pool2", "pool5", "fc")
        ),
    }
    for step in (0, 2):
        taps = summary["epochs"][step - 1]["taps"] if step else summary["start"]
        for measure, value in taps["pool5"].items():
            shown = written[f"{measure}/pool5"][step]
            assert shown == pytest.approx(value, rel=1e-6)
    for entry in summary["epochs"]:
        assert written["loss"][entry["epoch"]] == pytest.approx(entry["loss"])


def test_an_earlier_run_gives_way_to_an_epoch_only(
    training, tiny_run, tiny, interrupted
):
    workdir = pathlib.Path(shutil.copytree(tiny_run[0].workdir, tiny.workdir))
    with pytest.raises(UserError, match="--workdir=.* is not empty"):
        training.train(tiny)
    interrupted(tiny, overwrite=True)
    assert json.loads((workdir / "history.json").read_text()) == tiny_run[1]
    other = dataclasses.replace(tiny, seed=1)
    summary = training.train(other, overwrite=True)
    assert summary["epochs"][0]["loss"] != tiny_run[1]["epochs"][0]["loss"]
    assert len(list((workdir / "tensorboard").iterdir())) == 1


def test_a_network_starts_at_the_mean_label(training, tiny):
    run = start(training, tiny)
    expected = np.mean([x.labels for x in run.records.clips("train")], axis=0)
    bias = run.model.get_layer("output").bias
    np.testing.assert_allclose(bias, expected, rtol=1e-6)


def assert_resumable(training, options, summary, half):
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


def test_a_resumed_run_ends_where_the_whole_one_does(training, tiny, tmp_path):
    """With parts that stay fixed, or have their own rates."""
    whole = dataclasses.replace(
        tiny, train="head", part_learning_rates=["fc=1e-4"], epochs=2
    )
    half = dataclasses.replace(whole, workdir=str(tmp_path / "half"))
    assert_resumable(training, whole, training.train(whole), half)


@pytest.mark.slow
def test_a_resumed_run_of_a_whole_network(training, small_run, tmp_path):
    options, summary = small_run
    half = dataclasses.replace(options, workdir=str(tmp_path / "half"))
    assert_resumable(training, options, summary, half)


def test_only_the_same_run_is_resumed(training, small_run, tmp_path):
    options, summary = small_run
    with pytest.raises(UserError, match="--seed=0 became --seed=1"):
        training.train(dataclasses.replace(options, seed=1), resume=True)
    other = write_records_folder(tmp_path / "records")
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["splits"]["test"]["expected"] += 1
    (other / "manifest.json").write_text(json.dumps(manifest))
    changed = dataclasses.replace(options, records=str(other))
    with pytest.raises(UserError, match=r"other flags \(other records\)"):
        training.train(changed, resume=True)
    workdir = tmp_path / "earlier version"
    workdir.mkdir()
    earlier = dataclasses.replace(options, workdir=str(workdir))
    (workdir / "notes.txt").touch()
    with pytest.raises(UserError, match="earlier version holds no training"):
        training.train(earlier, resume=True)
    (workdir / "history.json").write_text(json.dumps(summary))
    with pytest.raises(UserError, match="holds no last.keras, from which"):
        training.train(earlier, resume=True)
    history = {"best_epoch": 3, "epochs": summary["epochs"]}
    (workdir / "history.json").write_text(json.dumps(history))
    with pytest.raises(UserError, match="does not state its options"):
        training.train(earlier, resume=True)
    (workdir / "history.json").write_text("{")
    with pytest.raises(UserError, match="history.json is damaged .* train ag"):
        training.train(earlier, resume=True)


def test_a_resumed_training_does_not_need_its_first_weights(
    training, tiny_run, tmp_path
):
    from affwild_omg.weights import workdir as workdirs

    options, summary = tiny_run
    first = tmp_path / "first"
    shutil.copytree(options.workdir, first)
    options = dataclasses.replace(
        options, workdir=str(tmp_path / "w"), init_from=str(first)
    )
    options.require_sources()
    training.train(options)
    shutil.rmtree(first)
    longer = dataclasses.replace(options, epochs=2)
    assert len(training.train(longer, resume=True)["epochs"]) == 2
    assert workdirs.read_history(options.workdir)["epochs"][1]["epoch"] == 2
    with pytest.raises(UserError, match="--init_from=.*first does not exist"):
        options.require_sources()


def test_resuming_a_finished_run_says_that_nothing_is_left(
    training, tiny_run, caplog
):
    with caplog.at_level("INFO", logger="absl"):
        assert training.train(tiny_run[0], resume=True) == tiny_run[1]
    assert caplog.messages == [
        "nothing is left to train: it ended after epoch 1; more --epochs, or "
        "another --patience, let it go on"
    ]


def test_weights_come_from_an_earlier_run(training, tiny, tmp_path):
    """CNN to CNN-RNN: what fits is taken, the rest starts anew."""
    from affwild_omg.nets import models, parts
    from affwild_omg.weights import model_file

    cnn = dataclasses.replace(
        tiny, architecture="vgg_face", taps=None, depth=None, units=None
    )
    card = training.card_of(cnn)
    model = models.build(card.architecture, 7)
    model_file.save_model(model, card, tmp_path / "cnn.keras")
    options = dataclasses.replace(tiny, init_from=str(tmp_path / "cnn.keras"))
    weights = parts.named_weights(start(training, options).model)
    source = parts.named_weights(model)
    shared = [name for name in source if not name.startswith("output/")]
    assert len(shared) == 28  # 13 convolutions and fc
    for name in shared:
        np.testing.assert_array_equal(weights[name], source[name])
    # The output does not fit, so it starts at the mean label.
    assert weights["output/kernel"].shape != source["output/kernel"].shape
    training.train(options)
    text = pathlib.Path(options.workdir, "initialisation.json").read_text()
    (report,) = json.loads(text)
    assert report["taken"] == shared
    assert set(report["left"]) == {"output/kernel", "output/bias"}
    assert set(report["taken"]) | set(report["fresh"]) == set(weights)


def test_weights_of_vgg_face_start_at_a_size_to_learn_from(
    training, tiny, tmp_path, caplog
):
    """The file keeps Caffe's scale, whose features are in the hundreds."""
    from affwild_omg.nets import models, parts

    # A width that the reader can tell from the first convolution.
    tiny = dataclasses.replace(tiny, width=1 / 32)
    plain = parts.named_weights(models.build(tiny.network(), 3))
    arrays = {
        name.replace("/", "_"): weight.numpy()
        for name, weight in plain.items()
        if name.startswith("conv")
    }
    # As a frame within 0 to 255 gives it, and folding keeps it.
    arrays["conv1_1_kernel"] *= 2
    arrays["conv5_3_bias"] += 7
    np.savez(tmp_path / "vgg.npz", **arrays)
    options = dataclasses.replace(tiny, init_from=str(tmp_path / "vgg.npz"))
    with caplog.at_level("INFO", logger="absl"):
        run = start(training, options)
    (line,) = [x for x in caplog.messages if "features of vgg_face scaled" in x]
    assert float(line.split("conv1_1 ")[1].split(",")[0]) > 50
    weights = parts.named_weights(run.model)
    scales = weights["conv5_3/bias"].numpy() / arrays["conv5_3_bias"]
    assert np.ptp(scales) == 0 and np.log2(scales[0]) % 1 == 0
    found = run._measure().taps["fc"]
    assert 0.1 < found["feature_rms"] < 1
    assert found["saturated_gates"] < 0.01
    assert run.initialisation[0]["taken"][0] == "conv1_1/kernel"


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


def test_members_of_a_fusion_bring_their_weights(training, small_run, tiny):
    from affwild_omg.nets import parts
    from affwild_omg.weights import model_file

    options = dataclasses.replace(
        tiny,
        architecture="model_fusion_rnn",
        taps=None,
        depth=None,
        members=[small_run[0].workdir, "cnn2_to_1rnn"],
        fusion_units=3,
        train="output",
    )
    members = options.network().members
    assert [member.recurrence for member in members] == ["per_tap", "joint"]
    run = start(training, options)
    before = parts.named_weights(run.model)
    before = {name: weight.numpy().copy() for name, weight in before.items()}
    own, _ = model_file.load_model(small_run[0].workdir)
    for name, weight in parts.named_weights(own).items():
        if not name.startswith("output/"):
            np.testing.assert_array_equal(before[f"member1/{name}"], weight)
    # What stays feeds no noise to what is trained on it.
    for name, layer in parts.named_layers(run.model).items():
        assert not (layer.trainable and "member" in name)
    run._train_epoch(1)
    after = parts.named_weights(run.model)
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


def steps_of(training, options):
    """Trains one batch; returns the longest step of a weight of each part."""
    from affwild_omg.nets import parts

    run = start(training, dataclasses.replace(options, batch_size=14))
    before = [weight.numpy().copy() for weight in run.model.weights]
    run._train_epoch(1)
    steps = dict.fromkeys(architectures.PARTS, 0.0)
    for weight, value in zip(run.model.weights, before, strict=True):
        part = parts.part_of(weight.path.split("/")[0])
        steps[part] = max(steps[part], np.abs(weight - value).max())
    return steps


def test_only_what_is_trained_moves(training, tiny, caplog):
    steps = steps_of(training, dataclasses.replace(tiny, train="head"))
    moved = {part for part, step in steps.items() if step}
    assert moved == {"fc", "rnn", "output"}
    # Nobody would fix a random CNN on purpose.
    assert (
        "--train=head leaves cnn fixed, whose weights are rand" in caplog.text
    )


def test_parts_have_their_learning_rates(training, tiny):
    """Adam's first step is as long as the rate, whatever the gradient."""
    options = dataclasses.replace(
        tiny,
        learning_rate=1e-3,
        part_learning_rates=["cnn=1e-5", "rnn=1e-2"],
    )
    expected = {"cnn": 1e-5, "fc": 1e-3, "rnn": 1e-2, "output": 1e-3}
    steps = steps_of(training, options)
    assert steps == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("freeze", [True, False])
def test_batch_norm_that_was_trained_stays(training, tiny, tmp_path, freeze):
    import keras

    from affwild_omg.nets import models, parts
    from affwild_omg.weights import model_file

    cnn = dataclasses.replace(
        tiny,
        architecture="resnet50",
        backbone="resnet50_slim",
        taps=["fc"],
        **dict.fromkeys(["depth", "units"]),
    )
    card = training.card_of(cnn)
    model = models.build(card.architecture, 7)
    model_file.save_model(model, card, tmp_path / "cnn.keras")

    def trained(options):
        named = parts.named_layers(start(training, options).model)
        return {
            isinstance(layer, keras.layers.BatchNormalization): layer.trainable
            for layer in named.values()
            if layer.weights
        }

    assert trained(cnn) == {True: True, False: True}
    taken = dataclasses.replace(
        cnn, init_from=str(tmp_path / "cnn.keras"), freeze_batch_norm=freeze
    )
    assert trained(taken) == {True: not freeze, False: True}


def test_a_run_says_how_its_windows_are_cut(training, tiny, tmp_path):
    """Evaluation cuts them so as well: by hand, from the clips' frames."""
    from affwild_omg.evaluation import evaluator
    from affwild_omg.evaluation.options import EvaluationOptions
    from affwild_omg.weights import model_file
    from tests.conftest import clip_seed, make_frames

    options = dataclasses.replace(
        tiny, tail="overlap", loss_level="weighted_sequence"
    )
    training.train(options)
    model, card = model_file.load_model(options.workdir)
    assert card.tail == "overlap"
    found = evaluator.evaluate(
        EvaluationOptions(
            model=options.workdir,
            records=options.records,
            split="validation",
            output=str(tmp_path / "validation"),
            sequence_weights="frames",
        )
    )
    assert found.provenance.tail == "overlap"
    six = make_frames(6, clip_seed("d", 0))
    whole = {
        "frames": np.stack([x.image for x in six])[None],
        "landmarks": np.stack([x.landmarks for x in six])[None],
        "mask": np.array([[x.face for x in six]]),
    }
    first, last = (
        model({name: x[:, part] for name, x in whole.items()})[0].numpy()
        for part in (slice(4), slice(2, 6))
    )
    face = whole["mask"][0]
    # The second window reaches back over two frames of the first.
    expected = (
        face[:4].sum() * np.median(first[face[:4]], axis=0)
        + face[4:].sum() * np.median(last[2:][face[4:]], axis=0)
    ) / face.sum()
    np.testing.assert_allclose(found.predictions[1], expected, atol=2e-6)


def test_a_model_knows_the_crops_of_its_training(
    training, tiny, tmp_path, monkeypatch
):
    from affwild_omg.data import crops, manifest
    from affwild_omg.inference.predictor import load_predictor
    from affwild_omg.serving import exporting
    from affwild_omg.serving.options import ExportOptions

    monkeypatch.setattr(crops, "LEAST", 1)
    folder = write_records_folder(tmp_path / "records", crop_format="jpeg")
    tiny = dataclasses.replace(tiny, records=str(folder))
    training.train(tiny)
    exported = exporting.export(
        ExportOptions(model=tiny.workdir, output=str(tmp_path / "saved"))
    )
    clips = manifest.read(tiny.records).clips("train")
    expected = crops.ranges(clips)
    assert {x for x, (low, high) in expected.items() if low < high}
    for model in (tiny.workdir, exported):
        card = load_predictor(model).card
        assert (card.crops, card.treatment.crop_format) == (expected, "jpeg")


def test_patience_stops_early(training, tiny):
    options = dataclasses.replace(
        tiny,
        learning_rate=1e-12,  # nothing changes: no epoch beats the first
        epochs=9,
        patience=2,
    )
    assert len(training.train(options)["epochs"]) == 3
    options = dataclasses.replace(
        options,
        workdir=f"{tiny.workdir}2",
        validate_every=2,
        steps_per_epoch=1,
    )
    assert len(training.train(options)["epochs"]) == 6


@pytest.mark.parametrize("augment", [None, ("mirror", "light", "rate")])
def test_epochs_of_some_steps_go_on_with_the_data(
    training, tiny, tmp_path, augment
):
    """Two passes of three batches, or three epochs of two: the same steps."""
    # Each epoch has its own dropout.
    passes = dataclasses.replace(
        tiny, epochs=2, fc_dropout=0.0, augment=augment
    )
    epochs = dataclasses.replace(
        passes, workdir=str(tmp_path / "e"), epochs=3, steps_per_epoch=2
    )
    one = training.train(passes)["epochs"]
    two = training.train(epochs)["epochs"]
    assert_same_weights(
        weights_of(passes.workdir, "last.keras"),
        weights_of(epochs.workdir, "last.keras"),
    )

    def total(entries, batches):  # some have nothing to compare
        return sum(
            (x["loss"] or 0) * (batches - x["skipped_batches"]) for x in entries
        )

    assert total(one, 3) == pytest.approx(total(two, 2), rel=1e-6)


def test_augmented_windows_are_others(training, tiny, tmp_path):
    changed = dataclasses.replace(
        tiny, workdir=str(tmp_path / "a"), augment=("mirror", "place")
    )
    one, two = training.train(tiny), training.train(changed)
    assert one["epochs"][0]["loss"] != two["epochs"][0]["loss"]
    assert two["options"]["augment"] == ("mirror", "place")
    with pytest.raises(UserError, match="--augment has blur, which"):
        dataclasses.replace(tiny, augment=("blur",))


def test_validation_comes_every_few_epochs_and_last(training, tiny):
    options = dataclasses.replace(tiny, epochs=3, validate_every=2)
    epochs = training.train(options)["epochs"]
    assert [x["epoch"] for x in epochs if "validation" in x] == [2, 3]


def test_epochs_do_not_end_unvalidated(training, tiny, interrupted):
    options = dataclasses.replace(
        tiny, epochs=9, validate_every=5, steps_per_epoch=1
    )
    interrupted(options, within=3)
    fewer = dataclasses.replace(options, epochs=2)
    with pytest.raises(UserError, match="holds 2 epochs, the last of them not"):
        training.train(fewer, resume=True)
    fewer = dataclasses.replace(options, epochs=3)
    epochs = training.train(fewer, resume=True)["epochs"]
    assert ["validation" in x for x in epochs] == [False, False, True]


@pytest.mark.parametrize("replicas", [1, 2])
def test_flags_reach_the_optimizer(tf, training, tiny, replicas):
    options = dataclasses.replace(
        tiny,
        learning_rate=1e-2,
        epochs=2,
        steps_per_epoch=3,
        schedule="cosine",
        warmup_steps=2,
        clip_norm=0.3,
        weight_decay=0.01,
        ema=0.9,
    )
    places = ["CPU:0", "CPU:1"][:replicas]
    strategy = tf.distribute.MirroredStrategy(places)
    run = start(training, options, strategy=strategy)
    own = run.optimizer
    # A replica clips the mean, and what is clipped is summed.
    assert own.global_clipnorm == pytest.approx(0.3 / replicas)
    assert (own.use_ema, own.ema_momentum) == (True, 0.9)
    paths = [x.path for x in run.model.trainable_variables]
    decays = dict(zip(paths, own.decays, strict=True))
    assert {0.01} == {y for x, y in decays.items() if x.endswith("/kernel")}
    assert {0.0} == {y for x, y in decays.items() if x.endswith("/bias")}
    rates = []
    for step in range(7):
        own.iterations.assign(step)
        rates.append(float(own.learning_rate))
    half = 0.5 + 0.5 * np.cos(np.pi * np.arange(5) / 4)
    np.testing.assert_allclose(rates, [0, 5e-3, *1e-2 * half], atol=1e-9)


def test_the_loss_is_of_the_level_that_was_asked_for(tf, training, tiny):
    from affwild_omg.nets import losses

    found = []
    for level in ("sequence", "frame", "weighted_sequence"):
        options = dataclasses.replace(
            tiny, loss_level=level, fc_dropout=0.0, batch_size=6
        )
        run = start(training, options)
        batch = run.batches.again(0)
        inputs = {x.name: batch[x.name] for x in run.model.inputs}
        expected = losses.concordance_loss(
            batch["labels"], run.model(inputs), batch["mask"], level=level
        )
        found.append(run._train_epoch(1)["loss"])
        assert found[-1] == pytest.approx(float(expected), abs=1e-6)
    assert len({round(x, 4) for x in found}) == 3


def test_shuffled_labels_are_the_same_labels_on_other_keys(tf):
    from affwild_omg.training import batches

    labels = {str(i): np.array([i, -i], float) for i in range(20)}
    permuted = batches._permuted(labels, seed=0)
    assert list(permuted) == list(labels)
    assert sorted(x for x, _ in permuted.values()) == list(range(20))
    assert all(x == -y for x, y in permuted.values())
    assert sum((permuted[x] == labels[x]).any() for x in labels) < 5
    labels["3"][0] = np.nan  # what has no label keeps to that
    permuted = batches._permuted(labels, seed=0)
    assert [key for key, x in permuted.items() if np.isnan(x[0])] == ["3"]
    assert not any(np.isnan(x[1]) for x in permuted.values())


@pytest.fixture(scope="module")
def other_records(tf, tmp_path_factory):
    """Records of three more clips, of 5, 4 and 4 frames."""
    clips = {"train": {"fay": [5, 4]}, "validation": {"gus": [4]}}
    folder = tmp_path_factory.mktemp("other") / "records"
    return write_records_folder(folder, clips, crop_format="jpeg")


def labels_seen(run):
    """Returns each window's first label, over an epoch."""
    with run.records.reading("train"):
        batches = list(
            run.batches.between(0, run.epoch_batches, 0, run.step.is_comparable)
        )
    labels = np.concatenate([batch["labels"] for batch in batches])
    known = np.isfinite(labels[..., 0]).any(axis=1)
    return np.nanmax(labels[known, :, 0], axis=1).round(6)


def labels_of(folder):
    """Returns the label of each window of 4 frames of train."""
    from affwild_omg.data import manifest

    clips = manifest.read(folder).clips("train")
    return np.repeat(
        [clip.labels[0] for clip in clips],
        [-(-clip.frames // 4) for clip in clips],
    ).round(6)


def test_several_corpora_train_together(
    training, tiny, other_records, tmp_path
):
    first = tiny.records
    options = dataclasses.replace(
        tiny, records=f"{first},{other_records}", batch_size=3
    )
    run = start(training, options)
    own, other = labels_of(first), labels_of(other_records)
    assert sorted(labels_seen(run)) == pytest.approx(
        sorted([*own, *other]), abs=1e-6
    )
    # Of six and three windows, in steps of three, one and two of each.
    mixed = dataclasses.replace(options, mix=["1", "2"])
    run = start(training, mixed)
    seen = np.isin(labels_seen(run), np.float32(other))
    assert (len(own), len(other)) == (6, 3)
    assert seen.reshape(3, 3).sum(axis=1).tolist() == [2, 2, 2]
    # The first one's validation decides.
    alone = start(training, tiny)
    alone.model.set_weights(run.model.get_weights())
    assert run._validate() == alone._validate()


def test_a_training_on_several_corpora_knows_them_all(
    training, tiny, other_records, interrupted, caplog
):
    from affwild_omg.data import manifest
    from affwild_omg.weights import model_file

    first = tiny.records
    options = dataclasses.replace(tiny, records=f"{first},{other_records}")
    summary = training.train(options)
    assert (
        f"--records={first},{other_records}: one has crops as png, the other "
        "crops as jpeg; the network learns from both"
    ) in caplog.text
    assert model_file.read_card(options.workdir).treatment.crop_format == "png"
    assert [summary["records_sha256"], *summary["added_sha256"]] == [
        manifest.read(folder).digest for folder in (first, other_records)
    ]
    with pytest.raises(UserError, match=r"with other flags \(other records\)"):
        training.train(dataclasses.replace(options, records=first), resume=True)
    twice = dataclasses.replace(options, records=f"{first},{first}")
    with pytest.raises(UserError, match="both have ann/.*; name records of di"):
        training.train(twice, overwrite=True)


def test_a_model_knows_how_many_frames_a_second_it_saw(
    training, tiny, tiny_run, other_records, tmp_path
):
    from affwild_omg.weights import model_file

    assert model_file.read_card(tiny_run[0].workdir).treatment.max_fps is None
    thinned = shutil.copytree(tiny.records, tmp_path / "thinned")
    content = json.loads((thinned / "manifest.json").read_text())
    text = json.dumps(content | {"max_fps": 12.5})
    (thinned / "manifest.json").write_text(text)
    options = dataclasses.replace(tiny, records=str(thinned))
    training.train(options)
    assert model_file.read_card(options.workdir).treatment.max_fps == 12.5
    both = dataclasses.replace(options, records=f"{thinned},{other_records}")
    with pytest.raises(
        UserError,
        match="one has at most 12.5 frames a second, the other all frames of "
        "its films; prepare both with the same --max_fps",
    ):
        training.train(both, overwrite=True)


def test_a_start_from_other_landmarks_is_refused_unless_told(
    training, tiny, tiny_run, tmp_path
):
    from affwild_omg.weights import model_file

    records = shutil.copytree(tiny.records, tmp_path / "mesh")
    content = json.loads((records / "manifest.json").read_text())
    text = json.dumps(content | {"landmarks": "mediapipe"})
    (records / "manifest.json").write_text(text)
    first = tiny_run[0].workdir
    options = dataclasses.replace(tiny, records=str(records), init_from=first)
    with pytest.raises(
        UserError,
        match=f"--init_from: {first} learned from landmarks by dlib, .* "
        "by mediapipe; .* or --other_landmarks to take these",
    ):
        training.train(options)
    training.train(dataclasses.replace(options, other_landmarks=True))
    card = model_file.read_card(options.workdir)
    assert card.treatment.landmarks == "mediapipe"


def test_passes_have_orders_of_their_own(training, tiny):
    run = start(training, tiny)
    orders = [run.batches.order(number).tolist() for number in (1, 2)]
    assert orders[0] != orders[1]
    assert all(sorted(x) == list(range(6)) for x in orders)
    again = start(training, tiny)
    assert again.batches.order(1).tolist() == orders[0]
    other = start(training, dataclasses.replace(tiny, seed=1))
    assert other.batches.order(1).tolist() != orders[0]


def test_what_stands_on_a_fixed_cnn_learns_from_cached_features(
    training, tiny, tmp_path, monkeypatch
):
    options = dataclasses.replace(
        tiny, taps=["pool2", "fc"], train="head", epochs=2, batch_size=3
    )
    plain = training.train(options)
    folder = tmp_path / "features"
    cached = dataclasses.replace(
        options, workdir=str(tmp_path / "cached"), cache_features=str(folder)
    )
    found = training.train(cached)
    for one, two in zip(plain["epochs"], found["epochs"], strict=True):
        assert two["loss"] == pytest.approx(one["loss"], abs=1e-3)
        ccc = one["validation"]["mean_ccc"]
        assert two["validation"]["mean_ccc"] == pytest.approx(ccc, abs=1e-2)
    one, two = (weights_of(x.workdir, "last.keras") for x in (options, cached))
    for first, second in zip(one, two, strict=True):
        # Adam's steps of 1e-3, whose direction float16 turns here and there.
        assert np.abs(first - second).mean() < 1e-5
    # Of train and validation, in a folder of these weights and records.
    (own,) = folder.iterdir()
    assert len(list(own.rglob("*.npy"))) == 5
    # Nothing but the cached features is read, and a resumed run finds them.
    again = dataclasses.replace(
        cached, epochs=1, workdir=str(tmp_path / "again")
    )
    training.train(again)
    monkeypatch.setattr(
        features.Cache, "_write", lambda *_: pytest.fail("computed")
    )
    training.train(dataclasses.replace(again, epochs=2), resume=True)
    assert_same_weights(two, weights_of(again.workdir, "last.keras"))
    # Of other weights, or taps, it is another cache.
    for change in ({"seed": 1}, {"taps": ["conv2_1", "fc"]}):
        other = dataclasses.replace(again, **change)
        with pytest.raises(pytest.fail.Exception):
            training.train(other, overwrite=True)
    with pytest.raises(UserError, match="no --cache_features became --cache_"):
        training.train(
            dataclasses.replace(cached, workdir=options.workdir), resume=True
        )


def one_step(training, options, strategy, **settings):
    """Trains one epoch of one batch without dropout; returns the weights.

    Those of the averages, if the optimizer's settings ask for them.
    """
    import keras

    card = training.card_of(options)
    network = dataclasses.replace(
        card.architecture, fc_dropout=0.0, rnn_dropout=0.0
    )
    card = dataclasses.replace(card, architecture=network)
    run = start(training, options, card, strategy)
    # Plain descent shows the gradient's size, which Adam would hide.
    with strategy.scope():
        optimizer = keras.optimizers.SGD(0.1, **settings)
        optimizer.build(run.model.trainable_variables)
    run.step = training.Step(
        *(run.model, optimizer, strategy, "sequence"), at_once=run.batches.share
    )
    before = run.model.get_weights()
    loss = run._train_epoch(1)["loss"]
    run.optimizer = optimizer
    with run._averaged():
        return loss, before, run.model.get_weights()


# Of 8 windows: all at once; six empty ones more; three, three and two, of which
# a replica has one less.
@pytest.mark.parametrize("batch_size", [8, 14, 3])
def test_two_replicas_take_the_step_of_one(tf, training, tiny, batch_size):
    options = dataclasses.replace(
        tiny, sequence_length=3, batch_size=batch_size
    )
    one = one_step(training, options, tf.distribute.get_strategy())
    two = one_step(
        training, options, tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    )
    assert two[0] == pytest.approx(one[0], abs=1e-6)
    assert_same_weights(one[2], two[2], atol=1e-5)
    pairs = zip(one[1], one[2], strict=True)
    moved = max(np.abs(before - after).max() for before, after in pairs)
    assert moved > 1e-3  # or the comparison would show nothing


# Of 8 windows: in fours, in threes of which the last has an empty one more; on
# two replicas in twos.
@pytest.mark.parametrize(("at_once", "replicas"), [(4, 1), (3, 1), (4, 2)])
def test_a_step_in_parts_is_that_of_one_large_batch(
    tf, training, tiny, at_once, replicas
):
    mirrored = tf.distribute.MirroredStrategy
    strategy = tf.distribute.get_strategy()
    large = dataclasses.replace(tiny, sequence_length=3, batch_size=8)
    whole = one_step(training, large, strategy)
    if replicas > 1:
        strategy = mirrored(["CPU:0", "CPU:1"])
    parts = dataclasses.replace(large, batch_size=at_once, ccc_sequences=8)
    own = one_step(training, parts, strategy)
    assert own[0] == pytest.approx(whole[0], abs=1e-6)
    assert_same_weights(whole[2], own[2], atol=1e-5)
    small = dataclasses.replace(large, batch_size=at_once, steps_per_epoch=1)
    other = one_step(training, small, tf.distribute.get_strategy())
    moved = max(
        np.abs(one - two).max()
        for one, two in zip(whole[2], other[2], strict=True)
    )
    assert moved > 1e-3  # or the comparison would show nothing


def test_both_passes_over_the_parts_see_the_same_network(tf, training):
    """Its dropout's noise, and moving statistics of batch normalisation.

    As one tape around all parts has them, one after the other.
    """
    import keras

    from affwild_omg.nets import losses

    random = np.random.default_rng(0)
    batch = {
        "frames": random.normal(1, 1, (6, 2, 5)).astype(np.float32),
        "mask": np.ones((6, 2), bool),
        "labels": random.uniform(-1, 1, (6, 2, 2)).astype(np.float32),
    }
    inputs = {
        "frames": keras.Input((2, 5), name="frames"),
        "mask": keras.Input((2,), name="mask", dtype="bool"),
    }
    values = keras.layers.BatchNormalization()(inputs["frames"])
    values = keras.layers.Dropout(0.5, seed=1)(values)
    values = keras.layers.Dense(2, kernel_initializer="ones")(values)
    model = keras.Model(inputs, values)
    expected = keras.models.clone_model(model)
    expected.set_weights(model.get_weights())
    before = model.get_weights()

    def started(model):
        optimizer = keras.optimizers.SGD(0.1)
        optimizer.build(model.trainable_variables)
        strategy = tf.distribute.get_strategy()
        step = training.Step(model, optimizer, strategy, "frame", at_once=2)
        step.seed_dropout(7)
        return step, optimizer

    step, _ = started(model)
    loss, *_ = step(batch | {"number": np.zeros(6, np.int64)})
    other, optimizer = started(expected)
    with tf.GradientTape() as tape:
        values = [
            expected(
                {name: batch[name][at : at + 2] for name in inputs},
                training=True,
            )
            for at in (0, 2, 4)
        ]
        by_hand = losses.concordance_loss(
            *(batch["labels"], tf.concat(values, 0), batch["mask"]),
            level="frame",
        )
    variables = expected.trainable_variables
    gradients = tape.gradient(by_hand, variables)
    optimizer.apply_gradients(zip(gradients, variables, strict=True))
    assert float(loss) == pytest.approx(float(by_hand), abs=1e-6)
    assert list(step.noise().values()) == list(other.noise().values())
    assert_same_weights(model.get_weights(), expected.get_weights(), atol=1e-6)
    for old, new in zip(before, expected.get_weights(), strict=True):
        assert np.abs(old - new).max() > 1e-4  # what is compared moves


def test_two_replicas_clip_and_average_as_one_does(tf, training, tiny):
    """In four steps, by a norm that is less than the gradients'."""
    mirrored = tf.distribute.MirroredStrategy
    options = dataclasses.replace(
        tiny, batch_size=4, sequence_length=3, steps_per_epoch=4, ema=0.5
    )
    settings = {"use_ema": True, "ema_momentum": options.ema}
    (one, two) = (
        one_step(
            *(training, options, strategy),
            # Each of the replicas clips the mean over them.
            global_clipnorm=0.3 / strategy.num_replicas_in_sync,
            **settings,
        )
        for strategy in (
            tf.distribute.get_strategy(),
            mirrored(["CPU:0", "CPU:1"]),
        )
    )
    assert_same_weights(one[2], two[2], atol=1e-5)
    moved = np.concatenate(
        [(x - y).ravel() for x, y in zip(one[1], one[2], strict=True)]
    )
    # Four steps of 0.1 times the norm, at most, less what averages lag behind.
    assert 0.01 < np.linalg.norm(moved) < 0.12


@pytest.mark.parametrize("replicas", [1, 2])
def test_plateaus_lower_the_learning_rate(
    tf, training, tiny, tmp_path, monkeypatch, replicas
):
    """A resumed training, too, which finds them in the history."""
    cccs = [0.1, 0.3, 0.2, 0.3, 0.4, 0.1, 0.1, 0.1]
    expected = [1e-2, 1e-2, 1e-2, 1e-2, 1e-3, 1e-3, 1e-3, 1e-4]
    run, train_epoch = training._Run, training._Run._train_epoch
    rates, stop = [], {"epoch": 7}

    def train(self, epoch):
        if epoch == stop.pop("epoch" if epoch == 7 else "", None):
            raise KeyboardInterrupt
        rates.append(self.optimizer.learning_rate.numpy())
        return train_epoch(self, epoch)

    def validate(self):
        ccc = cccs[len(self.epochs)]
        entry = {"mean_ccc": ccc}
        return entry | {name: {"ccc": ccc} for name in self.targets}

    monkeypatch.setattr(run, "_train_epoch", train)
    monkeypatch.setattr(run, "_validate", validate)
    mirrored = tf.distribute.MirroredStrategy
    options = dataclasses.replace(
        tiny,
        workdir=str(tmp_path / "run"),
        learning_rate=1e-2,
        schedule="plateau",
        plateau_patience=2,
        patience=0,
        epochs=8,
        steps_per_epoch=1,
    )
    strategy = mirrored(["CPU:0", "CPU:1"]) if replicas > 1 else None
    with pytest.raises(KeyboardInterrupt):
        training.train(options, strategy=strategy)
    assert len(rates) == 6
    training.train(options, resume=True, strategy=strategy)
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


def test_the_best_model_has_the_averages(training, tiny, tmp_path, interrupted):
    """So has the one that a resumed training finds missing, and writes."""
    whole = dataclasses.replace(
        tiny,
        learning_rate=1e-2,
        ema=0.9,
        schedule="cosine",
        warmup_steps=1,
        clip_norm=1.0,
        weight_decay=0.1,
        epochs=2,
        steps_per_epoch=2,
    )
    summary = training.train(whole)
    half = dataclasses.replace(whole, workdir=str(tmp_path / "half"))
    interrupted(half, within=2)
    (pathlib.Path(half.workdir) / "best.keras").unlink()
    resumed = training.train(half, resume=True)
    for name in ("last.keras", "best.keras"):
        assert_same_weights(
            weights_of(whole.workdir, name), weights_of(half.workdir, name)
        )
    for one, two in zip(summary["epochs"], resumed["epochs"], strict=True):
        assert one["validation"] == two["validation"]
    with pytest.raises(UserError, match="--epochs=2 became --epochs=3"):
        training.train(dataclasses.replace(half, epochs=3), resume=True)
    best = dataclasses.replace(
        whole, init_from=whole.workdir, workdir=f"{whole.workdir}2", ema=0.0
    )
    run = start(training, best)
    stated = summary["epochs"][summary["best_epoch"] - 1]["validation"]
    assert run._validate() == stated
    assert not np.array_equal(
        weights_of(whole.workdir, "best.keras")[0],
        weights_of(whole.workdir, "last.keras")[0],
    )
    with pytest.raises(UserError, match="--warmup_steps=4 is no less than th"):
        start(training, dataclasses.replace(whole, warmup_steps=4))


def test_a_step_weighs_errors_and_targets(training, tiny):
    options = dataclasses.replace(
        tiny,
        fc_dropout=0.0,
        batch_size=6,
        loss="ccc_mse",
        mse_weight=0.5,
        target_weights=["arousal=0.25"],
    )
    run = start(training, options)
    batch, own = run.probe, []
    predictions = run.predictor.predict(
        {x.name: batch[x.name] for x in run.model.inputs}
    )
    # Of frames that two windows see, one has the label.
    known = batch["mask"] & np.isfinite(batch["labels"][..., 0])
    assert len(predictions) == 6
    for i in range(2):
        x, y = (
            [z[j, m, i].mean() for j, m in enumerate(known) if m.any()]
            for z in (batch["labels"], predictions)
        )
        error = np.mean((np.array(x) - y) ** 2)
        own.append(1 - ccc_by_hand(x, y) + 0.5 * error)
    expected = (own[0] + 0.25 * own[1]) / 1.25
    assert run._train_epoch(1)["loss"] == pytest.approx(expected, abs=1e-5)


def test_labels_may_have_gaps(tf, training, tiny, tmp_path):
    """Windows labelled by utterance, by frame and not at all, in one batch."""
    from affwild_omg.data import pipeline
    from affwild_omg.inference.predictor import keras_predictor

    def labels(key, frames):
        if key == "bob/utterance_1.mp4":
            return np.tile([0.3, 0.6], (frames, 1))
        own = np.random.default_rng(frames).uniform(-1, 1, (frames, 2))
        own[::2, 0] = np.nan
        if key == "ann/utterance_3.mp4":
            own[:, 1] = np.nan
        return own

    records = write_records_folder(tmp_path / "gaps", labels=labels)
    options = dataclasses.replace(
        tiny,
        records=str(records),
        sequence_length=3,
        batch_size=8,
        tail="pad",
        validation_level="utterance",
    )
    one = one_step(training, options, tf.distribute.get_strategy())
    two = one_step(
        training, options, tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    )
    assert_same_weights(one[2], two[2], atol=1e-5)
    run = start(training, options)
    clips = run.records.clips("train")
    means = np.array([clip.labels for clip in clips])
    np.testing.assert_allclose(
        run.model.get_layer("output").bias,
        [means[:, 0].mean(), means[[0, 2], 1].mean()],
        rtol=1e-6,
    )
    run.model.set_weights(one[1])
    predict, ccc = keras_predictor(run.model, run.card).predict, []
    windows = pipeline.windows(clips, sequence_length=3, tail="pad")
    (batch,) = windows.batch(8).as_numpy_iterator()
    predictions = predict(
        {x: batch[x] for x in ("frames", "landmarks", "mask")}
    )
    for target in range(2):
        pairs = []
        for i, mask in enumerate(batch["mask"]):
            truth = batch["labels"][i, :, target]
            known = mask & ~np.isnan(truth)
            if known.any():
                own = predictions[i, known, target]
                pairs.append((truth[known].mean(), own.mean()))
        x, y = np.transpose(pairs)
        error = np.mean((x - y) ** 2)
        covariance = np.cov(x, y, bias=True)[0, 1]
        ccc.append(2 * covariance / (error + 2 * covariance))
    assert one[0] == pytest.approx(1 - np.mean(ccc), abs=1e-5)
    validation = run._validate()
    assert validation["valence"]["rows"] == validation["arousal"]["rows"] == 2


def test_each_replica_has_its_own_dropout(tf, training, tiny):
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    run = start(training, tiny, strategy=strategy)
    layer = run.model.get_layer("fc_dropout")

    @tf.function
    def step():
        dropped = strategy.run(lambda: layer(tf.ones((8, 64)), training=True))
        return strategy.experimental_local_results(dropped)

    def masks(seed):
        run.step.seed_dropout(seed)
        return np.array([step() for _ in range(2)]) > 0

    first = masks(1)
    np.testing.assert_array_equal(masks(1), first)
    # What is saved after a step gives the noise of the next one.
    noise, following = run.step.noise(), step()
    run.step.seed_dropout(7)
    run.step.set_noise(noise)
    np.testing.assert_array_equal(step(), following)
    # Two steps on two replicas, and other epochs: half of any two agree.
    flat = np.concatenate([first, masks(2), masks(5)]).reshape(12, -1)
    for one in range(12):
        for other in range(one):
            agree = (flat[one] == flat[other]).mean()
            assert agree == pytest.approx(0.5, abs=0.1)


def test_replicas_tell_of_the_whole_batch_and_share_statistics(tf, training):
    import keras

    mirrored = tf.distribute.MirroredStrategy
    strategy = mirrored(["CPU:0", "CPU:1"])
    with strategy.scope():
        layer = keras.layers.BatchNormalization()
        model = keras.Sequential([keras.Input((2,)), layer])
        step = training.Step(
            *(model, keras.optimizers.SGD(), strategy, "sequence")
        )

    def shared(function):
        return strategy.experimental_distribute_values_from_function(
            lambda context: function(context.replica_id_in_sync_group)
        )

    def comparable(*labels):
        return bool(
            step.is_comparable(
                {
                    "labels": shared(lambda i: tf.fill([2, 3, 1], labels[i])),
                    "mask": shared(lambda i: tf.ones([2, 3], bool)),
                }
            )
        )

    # Equal on each replica, but not on both.
    assert comparable(0.5, 0.25)
    assert not comparable(0.5, 0.5)
    assert not comparable(0.5, np.nan)

    @tf.function
    def differ(values):
        strategy.run(layer.moving_mean.assign, args=(values,))

    differ(shared(lambda i: tf.constant([i + 1.0, 7.0])))
    step.share_statistics()
    for mean in strategy.experimental_local_results(layer.moving_mean.value):
        assert mean.numpy().tolist() == [1.0, 7.0]


def test_a_run_that_diverges_stops_at_once(
    training, tiny, tiny_run, monkeypatch
):
    """NaN predictions give a loss of 1, which alone says nothing."""
    train_epoch = training._Run._train_epoch

    def poisoned(self, epoch):
        if epoch == 2:
            # Not fc: some processors take NaN for 0 in its ReLU.
            bias = self.model.get_layer("output").bias
            bias.assign(bias * np.nan)
        return train_epoch(self, epoch)

    monkeypatch.setattr(training._Run, "_train_epoch", poisoned)
    with pytest.raises(UserError) as raised:
        training.train(dataclasses.replace(tiny, epochs=3))
    assert str(raised.value).startswith(
        "the gradient of step 5 is not finite (the clips are "
    )
    assert str(raised.value).endswith(
        "; a --learning_rate lower than 0.001 may keep it so; "
        f"{tiny.workdir} keeps the model of epoch 1"
    )
    for name in ("best.keras", "last.keras"):
        assert_same_weights(
            weights_of(tiny.workdir, name),
            weights_of(tiny_run[0].workdir, name),
        )


def test_a_batch_without_a_gradient_is_left_out(training, tiny, tmp_path):
    """Adam's momentum would move the weights nevertheless."""
    clips = {"train": {"a": [4, 4], "b": [4, 4]}, "validation": {"c": [4, 4]}}
    options = dataclasses.replace(tiny, batch_size=2)

    def run_of(name, odd):
        def labels(key, frames):
            return np.full((frames, 2), 0.5 if key == odd else 0.3)

        records = write_records_folder(tmp_path / name, clips, labels)
        return start(
            training, dataclasses.replace(options, records=str(records))
        )

    run = run_of("some", "b/utterance_1.mp4")
    entry = run._train_epoch(1)
    assert entry["skipped_batches"] == 1
    assert int(run.optimizer.iterations) == 1
    with pytest.raises(UserError, match="--batch_size=2 all labels .* equal"):
        run_of("equal", "none")
    run = start(training, dataclasses.replace(run.options, steps_per_epoch=1))
    entries = []
    for epoch in (1, 2):
        entries.append(run._train_epoch(epoch))
        run.now = training.checkpoints.Progress()
    assert sorted(entry["skipped_batches"] for entry in entries) == [0, 1]
    for entry in entries:  # no step has no loss, which is not one of 0
        assert (entry["loss"] is None) == bool(entry["skipped_batches"])


def test_windows_with_faces_are_measured(tf, training, tiny, monkeypatch):
    run = start(training, tiny)
    mask = np.zeros((5, 4), bool)
    mask[2, 3] = mask[4] = True
    batch = {"mask": mask, "number": np.arange(5)}
    monkeypatch.setattr(
        *(run.batches, "_train_batches"),
        lambda *_: tf.data.Dataset.from_tensors(batch),
    )
    run.batches.share = 3
    assert run.batches.probe()["number"].tolist() == [2, 4, 0]


def test_a_whole_run_works_on_two_replicas(tf, training, tiny, tmp_path):
    # Each replica has its own dropout, so that a run on one has another.
    one = dataclasses.replace(tiny, fc_dropout=0.0, rnn_dropout=0.0)
    two = dataclasses.replace(one, workdir=str(tmp_path / "two"))
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    (first,) = training.train(one)["epochs"]
    (second,) = training.train(two, strategy=strategy)["epochs"]
    assert first["loss"] == pytest.approx(second["loss"], abs=1e-5)
    ccc = [x["validation"]["mean_ccc"] for x in (first, second)]
    assert ccc[0] == pytest.approx(ccc[1], abs=1e-4)


def test_a_batch_need_not_divide_by_the_replicas(
    tf, training, tiny, interrupted, caplog
):
    """Each predicts its part of a batch of validation, too."""
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    options = dataclasses.replace(tiny, batch_size=3)
    interrupted(options, strategy=strategy)
    assert (
        "--batch_size=3 is shared as evenly as can be: 1 of 2 devices have 2 "
        "windows of a step, and the others 1; a multiple of 2 would use all "
        "alike"
    ) in caplog.messages
    one, two = (
        start(training, options),
        start(training, options, None, strategy),
    )
    two.model.set_weights(one.model.get_weights())
    for key, entry in one._validate().items():
        assert two._validate()[key] == pytest.approx(entry, abs=1e-4)
    random = np.random.default_rng(0)
    inputs = {
        "frames": random.integers(0, 255, (4, 4, 96, 96, 3), np.uint8),
        "landmarks": random.uniform(0, 96, (4, 4, 68, 2)).astype("f"),
        "mask": np.ones((4, 4), bool),
    }
    np.testing.assert_allclose(
        two.predictor.predict(inputs), one.predictor.predict(inputs), atol=1e-5
    )


def test_nothing_is_left_of_a_run_without_an_epoch(
    tf, training, tiny, interrupted
):
    interrupted(tiny)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    for change, message in (
        ({"architecture": "cnn_9rnn"}, "cnn_3rnn"),
        (
            {
                "architecture": "vgg_face",
                **dict.fromkeys(["taps", "depth", "units"]),
                "part_learning_rates": ["rnn=1e-3", "fc=1"],
            },
            "to rnn, which vgg_face does not .* trained are cnn, fc, output",
        ),
        (
            {"train": "head", "part_learning_rates": ["cnn=1e-5"]},
            "to cnn, which .* --train=head leaves fixed; trained are fc, rnn",
        ),
    ):
        with pytest.raises(UserError, match=message):
            training.train(
                dataclasses.replace(tiny, **change), strategy=strategy
            )
    assert not pathlib.Path(tiny.workdir).exists()


def test_the_best_epoch_is_that_of_sources_not_trained_on(
    training, tiny, tmp_path
):
    """The last clip of validation comes from what is trained on."""
    from affwild_omg.evaluation import evaluator
    from affwild_omg.evaluation.options import EvaluationOptions

    plain = write_records_folder(tmp_path / "plain", CLIPS)
    options = dataclasses.replace(
        tiny,
        records=with_sources(plain, tmp_path / "records", SOURCES),
        validation="disjoint",
    )
    summary = training.train(options)
    found = evaluator.evaluate(
        EvaluationOptions(
            model=options.workdir,
            records=options.records,
            split="validation",
            output=str(tmp_path / "out"),
        )
    )
    stated = summary["epochs"][0]["validation"]
    assert stated["rows"] == 3
    for i, target in enumerate(found.targets):
        ccc = ccc_by_hand(found.labels[:3, i], found.predictions[:3, i])
        assert stated[target]["ccc"] == pytest.approx(ccc, abs=1e-4)
    other = dataclasses.replace(
        options, records=str(plain), workdir=str(tmp_path / "other")
    )
    with pytest.raises(UserError, match="leaves 0 of 4 utterances, too few"):
        training.train(other)
    assert not pathlib.Path(other.workdir).exists()
