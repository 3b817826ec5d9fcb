"""What TensorBoard is given, and how a training ends that turns NaN."""

import dataclasses
import pathlib
import types

import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from tests import conftest
from tests.training.test_checkpoints import (
    CLIPS,
    Killed,
    small_training,
    stop_before,
)
from tests.training.test_loop import start


@pytest.fixture(scope="module")
def training(tf):
    from affwild_omg.training import loop

    return loop


@pytest.fixture(scope="module")
def options(tf, tmp_path_factory):
    return small_training(tmp_path_factory.mktemp("watching"))


def records_of(folder):
    """Yields the events in a folder's files, in order."""
    import tensorflow as tf

    for path in sorted(pathlib.Path(folder).glob("events*")):
        for record in tf.data.TFRecordDataset(str(path)):
            yield tf.compat.v1.Event.FromString(record.numpy())


def events_of(folder):
    """Yields the steps and values of a folder's summaries, in order."""
    for event in records_of(folder):
        for value in event.summary.value:
            yield event.step, value


def graphs_of(folder):
    import tensorflow as tf

    return [
        tf.compat.v1.GraphDef.FromString(event.graph_def)
        for event in records_of(folder)
        if event.graph_def
    ]


def written(folder):
    """Returns [(tag, step, bytes)] of all but speeds, which differ."""
    return sorted(
        (value.tag, step, value.tensor.SerializeToString())
        for step, value in events_of(folder)
        if not value.tag.endswith("frames_per_second")
        and not value.tag.startswith("_hparams_")
    )


def array_of(folder, tag, step):
    import tensorflow as tf

    (found,) = (
        tf.make_ndarray(value.tensor)
        for at, value in events_of(folder)
        if (value.tag, at) == (tag, step)
    )
    return found


@pytest.fixture(scope="module")
def run(training, options):
    """A training of 3 epochs of 4 batches, with a look at each step."""
    from affwild_omg.training import watching

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watching, "LOOK_EVERY", 1)
        summary = training.train(options)
    return pathlib.Path(options.workdir), summary


def test_steps_and_epochs_have_their_axes(run):
    workdir, summary = run
    steps = {}
    for step, value in events_of(workdir / "tensorboard"):
        steps.setdefault(value.tag, []).append(step)
    taken = steps["step/loss"]
    assert len(taken) == 12 - sum(
        entry["skipped_batches"] for entry in summary["epochs"]
    )
    assert len(taken) < 12 and set(taken) < {*range(1, 13)}
    for name in ("gradient_norm", "learning_rate", "batch_ccc"):
        assert steps[f"step/{name}"] == taken
    for tag in ("loss", "validation/scatter", "weights/output/kernel"):
        assert steps[tag] == [1, 2, 3]
    assert steps["feature_rms/fc"] == [0, 1, 2, 3]
    for epoch, entry in enumerate(summary["epochs"], start=1):
        own = [x for x in taken if 4 * epoch - 4 < x <= 4 * epoch]
        losses, cccs = (
            [array_of(workdir / "tensorboard", f"step/{name}", x) for x in own]
            for name in ("loss", "batch_ccc")
        )
        assert np.mean(losses) == pytest.approx(entry["loss"], rel=1e-5)
        np.testing.assert_allclose(cccs, 1 - np.array(losses), rtol=1e-6)
    best = array_of(workdir / "tensorboard", "validation/best_mean_ccc", 3)
    assert best == pytest.approx(summary["best_ccc"])


def test_a_killed_training_leaves_no_second_truth(
    training,
    options,
    run,
    tmp_path,
    monkeypatch,
):
    """Killed before any checkpoint, and twice behind one."""
    from affwild_omg.training import watching

    monkeypatch.setattr(watching, "LOOK_EVERY", 1)
    own = dataclasses.replace(options, workdir=str(tmp_path / "run"))
    events = tmp_path / "run" / "tensorboard"
    unfinished = tmp_path / "run" / ".partial-tensorboard"
    for step in (3, 7, 2):
        with monkeypatch.context() as patch:
            stop_before(training, patch, step)
            with pytest.raises(Killed):
                training.train(own, resume=step != 3)
        assert unfinished.exists() == (step == 3) != events.exists()
    whole = written(run[0] / "tensorboard")
    behind = [x for x in written(events) if x not in whole]
    assert behind == []
    # As if a kill had come before the files took their place.
    events.rename(unfinished)
    training.train(own, resume=True)
    assert written(events) == whole
    assert not unfinished.exists()
    assert len(graphs_of(events)) == 1
    tags = [value.tag for _, value in events_of(events)]
    assert tags.count("_hparams_/session_start_info") == 1


def test_histograms_count_the_weights_and_the_features(run, tmp_path):
    from affwild_omg.nets import parts
    from affwild_omg.weights import model_file

    workdir, summary = run
    model, _ = model_file.load_model(workdir / "last.keras")
    weights = parts.named_weights(model)
    tags = {value.tag for _, value in events_of(workdir / "tensorboard")}
    assert {x.removeprefix("weights/") for x in tags if "weights/" in x} == {
        name for name, weight in weights.items() if len(weight.shape) > 1
    }
    found = array_of(workdir / "tensorboard", "weights/fc/kernel", 3)
    kernel = np.sort(weights["fc/kernel"].numpy().ravel()).astype(float)
    assert (found[0, 0], found[-1, 1]) == (kernel[0], kernel[-1])
    below = np.searchsorted(kernel, found[:, 1], side="left")
    np.testing.assert_allclose(np.cumsum(found[:, 2]), below, atol=2)
    assert found[:, 2].sum() == kernel.size
    gates = array_of(workdir / "tensorboard", "gates/fc_gru1", 3)
    features = array_of(workdir / "tensorboard", "features/fc", 3)
    # Two gates of four units; a tap of as many features as fc has units.
    rows = gates[:, 2].sum() / 8
    assert features[:, 2].sum() == rows * model.get_layer("fc").units
    assert 0 < rows <= 8
    middles, counts = features[:, :2].mean(axis=1), features[:, 2]
    rms = np.sqrt(np.average(middles**2, weights=counts))
    stated = summary["epochs"][2]["taps"]["fc"]["feature_rms"]
    assert rms == pytest.approx(stated, rel=0.05)


def test_the_picture_is_of_the_truth_and_the_predictions(
    tf,
    training,
    options,
    tmp_path,
):
    from affwild_omg import figures
    from affwild_omg.evaluation import protocol

    own = dataclasses.replace(options, workdir=str(tmp_path / "run"))
    run = start(training, own, write=True)
    rng = np.random.default_rng(0)
    labels, predictions = rng.uniform(0, 1, (2, 30, 2))
    rows = protocol.labelled(["v"] * 30, predictions, labels)
    scores = protocol.score(rows, run.targets, level="frame")
    run.watching.agreement(1, rows, scores, run.targets)
    folder = tmp_path / "run" / ".partial-tensorboard"
    width, height, png = array_of(folder, "validation/scatter", 1)
    shown = tf.io.decode_png(png, channels=3).numpy()
    assert shown.shape == (int(height), int(width), 3)
    figures.scatter(
        tmp_path / "scatter.png",
        *(labels, predictions, run.targets, scores.cccs),
        noun="frame",
        dpi=80,
    )
    drawn = (tmp_path / "scatter.png").read_bytes()
    np.testing.assert_array_equal(shown, tf.io.decode_png(drawn, channels=3))
    # A point lies where it must: the plot is not of other data.
    figures.scatter(
        tmp_path / "other.png",
        *(predictions, labels, run.targets, scores.cccs),
        noun="frame",
        dpi=80,
    )
    assert (tmp_path / "other.png").read_bytes() != drawn


def test_options_and_graph_are_there_for_tensorboard(run, options):
    from tensorboard.plugins.hparams import metadata

    start_info, config = (
        next(v for _, v in events_of(run[0] / "tensorboard") if v.tag == tag)
        for tag in ("_hparams_/session_start_info", "_hparams_/experiment")
    )
    session = metadata.parse_session_start_info_plugin_data(
        start_info.metadata.plugin_data.content
    )
    assert session.group_name == options.workdir
    told = {
        name: getattr(value, value.WhichOneof("kind"))
        for name, value in session.hparams.items()
    }
    assert told["taps"] == "fc"
    assert told["learning_rate"] == 1e-3
    assert told["freeze_batch_norm"] is True
    assert told["batch_size"] == 2
    # What is None, and what another run of the same network may change.
    assert not {"init_from", "epochs", "workdir"} & told.keys()
    experiment = metadata.parse_experiment_plugin_data(
        config.metadata.plugin_data.content
    )
    assert {x.name for x in experiment.hparam_infos} > told.keys()
    (metric,) = experiment.metric_infos
    assert metric.name.tag == "validation/best_mean_ccc"
    (graph,) = graphs_of(run[0] / "tensorboard")
    nodes = {node.name.split("/")[-1]: node for node in graph.node}
    assert nodes["conv1_2"].op == "Conv2D"
    assert list(nodes["conv1_2"].input) == ["affwild_omg/conv1_1"]
    assert list(nodes["output"].input) == ["affwild_omg/fc_gru1"]


def test_the_graph_knows_the_types_of_other_precisions(tf, tmp_path, capfd):
    from affwild_omg.nets import models
    from affwild_omg.published import networks
    from affwild_omg.training import watching

    network = networks.named("cnn_1rnn", width=0.03, units=4)
    model = models.build(network, dtype="mixed_bfloat16")
    writer = tf.summary.create_file_writer(str(tmp_path))
    with writer.as_default(step=0):
        watching._write_graph(model)
    writer.close()
    (graph,) = graphs_of(tmp_path)
    nodes = {node.name.split("/")[-1]: node for node in graph.node}
    types = [nodes[x].attr["dtype"].type for x in ("conv1_1", "output")]
    assert types == [tf.bfloat16.as_datatype_enum, tf.float32.as_datatype_enum]
    assert "Unsupported dtype" not in capfd.readouterr().err


@pytest.mark.parametrize("every", ["epoch", "1"])
def test_chosen_steps_are_profiled(training, options, tmp_path, caplog, every):
    """A checkpoint between them, the first, moves where the files lie."""
    xplane = pytest.importorskip("tensorflow.tsl.profiler.protobuf.xplane_pb2")
    own = dataclasses.replace(
        options,
        workdir=str(tmp_path / "run"),
        profile_steps=["2", "3"],
        checkpoint_every=every,
        epochs=2,
    )
    with caplog.at_level("INFO", logger="absl"):
        training.train(own)
    (path,) = (tmp_path / "run" / "tensorboard").rglob("*.xplane.pb")
    assert f"{own.workdir}/tensorboard has the profile" in caplog.text
    taken = set()
    for plane in xplane.XSpace.FromString(path.read_bytes()).planes:
        numbers = [
            x for x, y in plane.stat_metadata.items() if y.name == "step_num"
        ]
        for line in plane.lines:
            for event in line.events:
                if plane.event_metadata[event.metadata_id].name == "train":
                    taken.update(
                        max(stat.int64_value, stat.uint64_value)
                        for stat in event.stats
                        if stat.metadata_id in numbers
                    )
    assert taken == {2, 3}
    longer = dataclasses.replace(own, epochs=3, profile_steps=["99", "100"])
    training.train(longer, resume=True)
    assert "--profile_steps=99,100: none of these steps was" in caplog.text
    training.train(dataclasses.replace(longer, epochs=1), overwrite=True)
    assert not list(tmp_path.rglob("*.xplane.pb"))


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([1, 4, 5, 6, 7], ["start", 4, 5, 6, "stop", 7]),
        # Batches that are left out have numbers.
        ([1, 5, 9], ["start", 5, 9, "stop"]),
        ([1, 9, 10], ["none", 9, 10]),
    ],
)
def test_steps_are_profiled_by_their_numbers(
    tf, training, options, tmp_path, monkeypatch, caplog, steps, expected
):
    own = dataclasses.replace(
        options, workdir=str(tmp_path), profile_steps=["4", "6"]
    )
    watching, found = start(training, own, write=True).watching, []
    profiler = tf.profiler.experimental
    monkeypatch.setattr(profiler, "start", lambda _: found.append("start"))
    monkeypatch.setattr(profiler, "stop", lambda: found.append("stop"))
    for step in steps:
        with watching.step(lambda step=step: step):
            found.append(step)
    watching.close()
    told = caplog.text.count("none of these steps was taken")
    assert found == [1, *(x for x in expected if x != "none")]
    assert told == expected.count("none")


@pytest.mark.parametrize(
    "given", ["20", "20,10", "0,3", "a,b", "1,2,3", "-1,2"]
)
def test_steps_to_profile_are_two(options, given):
    with pytest.raises(UserError) as raised:
        dataclasses.replace(options, profile_steps=given.split(","))
    assert str(raised.value) == (
        "--profile_steps must be the first step and the last, counted from 1, "
        f"such as 10,20, not '{given}'"
    )


def test_the_console_tells_the_time_that_is_left(
    training,
    options,
    tmp_path,
    monkeypatch,
    caplog,
):
    """A hundred seconds an epoch, validation and all."""
    clock = [0.0]

    def train_epoch(self, epoch):
        clock[0] += 100
        return {"loss": 0.5, "frames_per_second": 7.0, "skipped_batches": 0}

    now = types.SimpleNamespace(monotonic=lambda: clock[0])
    monkeypatch.setattr(training, "time", now)
    monkeypatch.setattr(training._Run, "_train_epoch", train_epoch)
    own = dataclasses.replace(options, workdir=str(tmp_path / "run"))
    with caplog.at_level("INFO", logger="absl"):
        training.train(own)
    lines = [x for x in caplog.messages if x.startswith("epoch")]
    assert lines[0].startswith("epoch 1: loss 0.500, validation CCC by ")
    assert [x.partition("7 frames/s")[2] for x in lines] == [
        *("; 3 min to epoch 3", "; 2 min to epoch 3", "")
    ]


@pytest.fixture
def poisoned(tf, tmp_path, monkeypatch):
    """Records of which one clip has landmarks that are not finite."""
    make = conftest.make_frames

    def make_frames(frames, seed, labels=None):
        found = make(frames, seed, labels)
        if seed == conftest.clip_seed("eve", 0):
            found[2].landmarks[30, 1] = np.nan
        return found

    monkeypatch.setattr(conftest, "make_frames", make_frames)
    return str(conftest.write_records_folder(tmp_path / "poisoned", CLIPS))


@pytest.mark.parametrize(
    ("replicas", "precision"), [(1, "float32"), (2, "float32"), (1, "float16")]
)
def test_a_clip_that_is_not_finite_is_named(
    tf, training, options, poisoned, tmp_path, replicas, precision
):
    """At once in float16, too, where a large gradient only lowers a scale."""
    strategy = tf.distribute.get_strategy()
    if replicas == 2:
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    own = dataclasses.replace(
        options,
        records=poisoned,
        workdir=str(tmp_path / "run"),
        batch_size=3,
        precision=precision,
    )
    with pytest.raises(UserError) as raised:
        training.train(own, strategy=strategy)
    assert str(raised.value).split(" of step ")[1][1:] == (
        " is not finite, because landmarks of eve/utterance_1.mp4 are not; "
        "prepare these again; nothing was saved before it"
    )


def test_a_step_that_explodes_is_told(
    tf,
    training,
    options,
    tmp_path,
):
    """The first step moves weights too far; the second one finds out."""
    from affwild_omg.data import pipeline
    from affwild_omg.nets import losses, parts

    own = dataclasses.replace(
        options,
        records=str(conftest.write_records_folder(tmp_path / "records", CLIPS)),
        workdir=str(tmp_path / "run"),
        learning_rate=1e30,
        fc_dropout=0.0,
    )
    run = start(training, own)
    windows = pipeline.windows(
        run.records.clips("train"),
        sequence_length=own.sequence_length,
        tail=own.tail,
        order=run.batches.order(1),
    )
    windows = list(windows.as_numpy_iterator())
    batch = {
        name: np.stack([window[name] for window in windows[:2]])
        for name in ("frames", "landmarks", "mask", "labels")
    }
    with tf.GradientTape() as tape:
        inputs = {x.name: batch[x.name] for x in run.model.inputs}
        loss = losses.concordance_loss(
            batch["labels"], run.model(inputs), batch["mask"]
        )
    names = {id(x): name for name, x in parts.named_weights(run.model).items()}
    weights = run.model.trainable_variables
    gradients = tape.gradient(loss, [x.value for x in weights])
    norms = {
        names[id(x)]: np.linalg.norm(gradient)
        for x, gradient in zip(weights, gradients, strict=True)
    }
    keys = sorted({window["key"].decode() for window in windows[2:4]})
    with pytest.raises(UserError) as raised:
        training.train(own)
    text = str(raised.value)
    assert "gradient of step 2 is not finite" in text
    assert f"clips are {', '.join(keys)};" in text
    largest = sorted(norms, key=norms.get)[:-4:-1]
    told = text.split("gradients before it are ")[1].split(")")[0]
    assert told.split(", ") == [f"{x} {norms[x]:.3g}" for x in largest]
    assert text.endswith(
        "a --learning_rate lower than 1e+30 may keep it so; nothing was "
        "saved before it"
    )
    # A squared error tells it itself.
    again = dataclasses.replace(own, loss="mse", workdir=f"{own.workdir}2")
    with pytest.raises(UserError, match="^the loss of step 2 is not finite "):
        training.train(again)


def test_steps_that_overflowed_say_nothing_of_gradients(
    tf, training, options, tmp_path
):
    own = dataclasses.replace(options, workdir=str(tmp_path))
    watching = start(training, own, write=True).watching
    variables = len(watching._model.trainable_variables)

    def took(number, size, overflow):
        norms = tf.concat([[size], tf.zeros(variables - 1)], 0)
        results = (0.5, norms, 4.0, np.int64(number), overflow)
        watching.took(*map(tf.convert_to_tensor, results))

    for number, size in enumerate((3.0, 0.0, 5.0, 0.0)):
        took(number, size, overflow=not size)
    assert watching.look(10) is None
    took(4, np.nan, overflow=False)
    found = watching.look(10)
    watching.close()
    assert (found.step, found.before[0]) == (15, 5.0)
    folder = tmp_path / ".partial-tensorboard"
    assert array_of(folder, "step/gradient_norm", 14) == 4.0
    assert array_of(folder, "step/loss", 14) == 0.5


def test_predictions_of_validation_must_be_finite(
    training,
    options,
    tmp_path,
    monkeypatch,
):
    make = conftest.make_frames

    def make_frames(frames, seed, labels=None):
        found = make(frames, seed, labels)
        if seed == conftest.clip_seed("dan", 0):
            found[1].landmarks[0, 0] = np.inf
        return found

    monkeypatch.setattr(conftest, "make_frames", make_frames)
    records = conftest.write_records_folder(tmp_path / "records", CLIPS)
    own = dataclasses.replace(
        options, records=str(records), workdir=str(tmp_path / "run")
    )
    run = start(training, own)
    with pytest.raises(UserError) as raised:
        run._validate()
    assert str(raised.value) == (
        "predictions of dan/utterance_1.mp4 in validation are not finite; "
        "prepare these again, if their landmarks are not; nothing was "
        "saved before it"
    )
    bias = run.model.get_layer("output").bias
    bias.assign(bias * np.nan)
    with pytest.raises(UserError, match="4 in validation .* lower than 0.001"):
        run._validate()


def test_the_norm_is_that_of_the_gradient(
    tf,
    training,
    options,
    tmp_path,
):
    """By plain descent; of two replicas that clip alike, too."""
    import keras

    own = dataclasses.replace(
        options,
        workdir=str(tmp_path),
        fc_dropout=0.0,
        batch_size=12,
        steps_per_epoch=1,
    )
    mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    for strategy in (tf.distribute.get_strategy(), mirrored):
        run = start(training, own, strategy=strategy, write=True)
        with strategy.scope():
            optimizer = keras.optimizers.SGD(0.1, global_clipnorm=1e6)
            optimizer.build(run.model.trainable_variables)
        run.step = training.Step(run.model, optimizer, strategy, "sequence")
        before = run.model.get_weights()
        run._train_epoch(1)
        run.watching.close()
        pairs = zip(before, run.model.get_weights(), strict=True)
        moved = np.concatenate([(x - y).ravel() for x, y in pairs])
        folder = tmp_path / ".partial-tensorboard"
        norm = array_of(folder, "step/gradient_norm", 1)
        assert norm == pytest.approx(np.linalg.norm(moved) / 0.1, rel=1e-3)
