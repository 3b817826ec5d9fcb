"""Training in lower precision, and compiled."""

import dataclasses
import pathlib

import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.training.options import TrainingOptions


@pytest.fixture(scope="module")
def training(tf):
    from affwild_omg.training import loop

    return loop


@pytest.fixture(scope="module")
def options(small_records):
    return TrainingOptions(
        records=str(small_records),
        workdir="unused",
        taps=["fc"],
        depth=1,
        width=0.03,
        units=4,
        # Another noise would be drawn by XLA.
        fc_dropout=0.0,
        sequence_length=4,
        batch_size=6,
        learning_rate=1e-3,
    )


def start(training, options, resumed=None):
    return training._Run(
        options,
        training.validation.read(options),
        training.card_of(options),
        training.default_strategy(),
        resumed,
    )


def descent(training, options):
    """Takes one step by plain descent; returns its loss and the gradient."""
    import keras

    run = start(training, options)
    optimizer = keras.optimizers.SGD(0.01)
    if options.precision == "float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(run.model.trainable_variables)
    run.step = training.Step(
        *(run.model, optimizer, run.strategy, "sequence"),
        jit_compile=options.jit_compile,
        at_once=run.batches.share,
    )
    run.optimizer = optimizer
    before = run.model.get_weights()
    loss = run._train_epoch(1)["loss"]
    weights = run.model.weights
    assert {weight.dtype for weight in weights} == {"float32"}
    pairs = zip(before, run.model.get_weights(), strict=True)
    return loss, np.concatenate([(x - y).ravel() for x, y in pairs])


@pytest.fixture(scope="module")
def plain(training, options):
    return descent(training, options)


@pytest.mark.parametrize(
    ("change", "cosine"),
    [
        ({"precision": "bfloat16"}, 0.99),
        ({"precision": "float16"}, 0.995),
        ({"jit_compile": True}, 0.99999),
    ],
)
@pytest.mark.parametrize("parts", [{}, {"batch_size": 2, "ccc_sequences": 6}])
def test_a_step_lies_near_that_in_float32(
    training, options, plain, change, cosine, parts
):
    change = change | parts
    loss, gradient = descent(training, dataclasses.replace(options, **change))
    assert loss == pytest.approx(plain[0], abs=1e-2)
    sizes = np.linalg.norm(gradient), np.linalg.norm(plain[1])
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)
    assert gradient @ plain[1] > cosine * sizes[0] * sizes[1]


def test_a_step_that_overflows_is_left_out_and_saved(
    training, options, tmp_path
):
    options = dataclasses.replace(
        options,
        workdir=str(tmp_path),
        precision="float16",
        batch_size=2,
        steps_per_epoch=2,
    )
    run = start(training, options)
    run.optimizer.dynamic_scale.assign(2.0**60)
    before = run.model.get_weights()
    entry = run._train_epoch(1)
    assert entry["overflows"] == 2
    assert entry["loss_scale"] == 2.0**58
    for x, y in zip(before, run.model.get_weights(), strict=True):
        np.testing.assert_array_equal(x, y)
    assert int(run.optimizer.iterations) == 0
    # What is resumed from there has all of it.
    run.optimizer.step_counter.assign(7)
    run._save()
    found = training.checkpoints.newest(pathlib.Path(tmp_path))
    again = start(training, options, found)
    assert again.now.overflows == 2
    assert float(again.optimizer.dynamic_scale) == 2.0**58
    assert int(again.optimizer.step_counter) == 7
    # Where no lower scale helps, the training has diverged.
    run.now = training.checkpoints.Progress()
    run.optimizer.dynamic_scale.assign(1.0)
    bias = run.model.get_layer("output").bias
    bias.assign(bias * np.nan)
    with pytest.raises(UserError, match="gradient of step 1 is not finite"):
        run._train_epoch(1)


def test_weights_are_those_of_float32(tf):
    """Names, shapes and first values, in every kind of layer."""
    from affwild_omg.nets import models, parts
    from tests.nets.networks import small

    slim = {"backbone": "resnet50_slim"}
    for network in (small("cnn_3rnn", {}), small("resnet50", slim)):
        one, *others = (
            parts.named_weights(models.build(network, dtype=dtype))
            for dtype in ("float32", "mixed_bfloat16", "mixed_float16")
        )
        for other in others:
            assert list(other) == list(one)
            for name, weight in other.items():
                assert weight.dtype == "float32"
                np.testing.assert_array_equal(weight, one[name])


def test_what_does_not_run_is_refused(
    tf, training, options, tmp_path, monkeypatch, caplog
):
    own = dataclasses.replace(options, workdir=str(tmp_path / "run"))
    two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    for change, message in (
        ({"jit_compile": True}, "--jit_compile does not go with 2 devices, b"),
        ({"precision": "float16"}, "--precision=float16 does not go with 2 d"),
    ):
        with pytest.raises(UserError, match=message):
            training.train(dataclasses.replace(own, **change), strategy=two)
    text = "Detected unsupported operations when trying to compile graph x\n1"

    def fit(self):
        raise tf.errors.InvalidArgumentError(None, None, text)

    monkeypatch.setattr(training._Run, "fit", fit)
    with pytest.raises(UserError) as raised:
        training.train(dataclasses.replace(own, jit_compile=True, tf32=True))
    assert str(raised.value) == (
        "--jit_compile: XLA does not compile cnn_3rnn here (Detected "
        "unsupported operations when trying to compile graph x); leave it out"
    )
    enabled = tf.config.experimental.tensor_float_32_execution_enabled
    assert enabled()
    assert "--tf32 changes nothing, because there is no GPU" in caplog.text
    with pytest.raises(tf.errors.InvalidArgumentError):
        training.train(own)
    assert not enabled()
