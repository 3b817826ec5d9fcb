"""Every network of the paper, and its ablations, keeps the same promises."""

import types

import numpy as np
import pytest

from affwild_omg.serving.options import ExportOptions
from tests.nets.networks import inputs, small
from tests.published.test_networks import COUNTED

# Each of these has something of its own; the others repeat it in other places,
# or are deep.
FAST = (
    "vgg_face",
    "cnn_1rnn",
    "cnn_3rnn_1fc",
    "landmark encoder",
    "model_fusion_fc",
    "fusion, cudnn",
    "averaged pool alone, on TF-Slim's ResNet-50",
)
EXPORTED = (
    "vgg_face",
    "cnn_3rnn_1fc",
    "fusion, cudnn",
    "averaged pool alone, on TF-Slim's ResNet-50",
    pytest.param("affwildnet", marks=pytest.mark.slow),
    pytest.param("densenet_rnn", marks=pytest.mark.slow),
)


@pytest.fixture(
    scope="module",
    params=[
        name if name in FAST else pytest.param(name, marks=pytest.mark.slow)
        for name in COUNTED
    ],
)
def network(tf, request):
    """A built network, its card and its predictions on some inputs."""
    from affwild_omg.nets import models
    from affwild_omg.weights import model_file

    row, overrides, _ = COUNTED[request.param]
    card = model_file.Card(
        architecture=small(row, overrides), sequence_length=4
    )
    model = models.build(card.architecture, seed=1)
    batch = inputs(2, 4)
    batch["mask"][1, 2:] = False
    batch = {tensor.name: batch[tensor.name] for tensor in model.inputs}
    return types.SimpleNamespace(
        model=model,
        card=card,
        batch=batch,
        predictions=model(batch).numpy(),
    )


def test_output_for_any_batch_and_time(network):
    targets = len(network.card.architecture.targets)
    assert network.predictions.shape == (2, 4, targets)
    assert network.model.output.dtype == "float32"
    first = {name: x[:1, :3] for name, x in network.batch.items()}
    predictions = network.model(first).numpy()
    assert predictions.shape == (1, 3, targets)
    # Batch and time are free, and do not matter.
    np.testing.assert_allclose(
        predictions, network.predictions[:1, :3], atol=1e-5
    )


def test_masked_frames_have_no_effect_on_others(network):
    mask = network.batch["mask"].copy()
    mask[:, 1] = False
    kept = np.array([0, 2, 3])
    without = {name: x[:, kept] for name, x in network.batch.items()}
    expected = network.model(without).numpy()
    noise = inputs(2, 4, seed=1)
    other = {
        name: np.where(mask.reshape(2, 4, *[1] * (x.ndim - 2)), x, noise[name])
        for name, x in network.batch.items()
    }
    predictions = network.model(other | {"mask": mask}).numpy()
    counts = mask[:, kept]
    np.testing.assert_allclose(
        predictions[:, kept][counts], expected[counts], atol=1e-5
    )


def test_a_model_file_gives_the_network_back(network, tmp_path):
    from affwild_omg.weights import model_file

    path = tmp_path / "model.keras"
    model_file.save_model(network.model, network.card, path)
    model, card = model_file.load_model(path)
    assert card == network.card
    np.testing.assert_array_equal(model(network.batch), network.predictions)


def test_a_step_changes_every_trainable_weight(tf, network):
    import keras

    from affwild_omg.nets import losses

    model = network.model
    weights = model.get_weights()
    before = [weight.numpy() for weight in model.trainable_weights]
    labels = np.random.default_rng(3).uniform(-1, 1, network.predictions.shape)
    with tf.GradientTape() as tape:
        loss = losses.concordance_loss(
            tf.constant(labels, tf.float32),
            model(network.batch, training=True),
            network.batch["mask"],
        )
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.apply_gradients(
        zip(gradients, model.trainable_variables, strict=True)
    )
    unmoved = [
        weight.path
        for weight, value in zip(model.trainable_weights, before, strict=True)
        if np.array_equal(weight, value)
    ]
    model.set_weights(weights)
    assert unmoved == []


@pytest.mark.parametrize("network", EXPORTED, indirect=True)
def test_a_saved_model_gives_the_same_predictions(network, tmp_path):
    from affwild_omg.inference import predictor as predictors
    from affwild_omg.serving import exporting
    from affwild_omg.weights import model_file

    path = tmp_path / "model.keras"
    model_file.save_model(network.model, network.card, path)
    exporting.export(
        ExportOptions(model=str(path), output=str(tmp_path / "saved"))
    )
    predictor = predictors.load_predictor(tmp_path / "saved")
    assert predictor.card == network.card
    batch = {"landmarks": inputs(2, 4)["landmarks"]} | network.batch
    mask = batch["mask"]
    predictions = network.predictions[mask]
    np.testing.assert_allclose(
        predictor.predict(batch)[mask], predictions, atol=1e-5
    )
    state, found = np.zeros((2, predictor.state_size), np.float32), []
    for place in (slice(1), slice(1, 4)):
        piece = {name: x[:, place] for name, x in batch.items()}
        values, state = predictor.step(piece, state)
        found.append(values)
    np.testing.assert_allclose(
        np.concatenate(found, axis=1)[mask], predictions, atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("network", EXPORTED, indirect=True)
@pytest.mark.parametrize("runtime", ["onnxruntime", "litert"])
def test_other_runtimes_give_the_same_predictions(network, runtime, tmp_path):
    from affwild_omg.inference import predictor as predictors
    from affwild_omg.serving import exporting
    from affwild_omg.weights import model_file

    path, output = tmp_path / "model.keras", tmp_path / "exported"
    model_file.save_model(network.model, network.card, path)
    name = {"onnxruntime": "onnx"}.get(runtime, runtime)
    exporting.export(
        ExportOptions(model=str(path), output=str(output), format=(name,))
    )
    predictor = predictors.load_predictor(output)
    batch = {"landmarks": inputs(2, 4)["landmarks"]} | network.batch
    mask = batch["mask"]
    np.testing.assert_allclose(
        predictor.predict(batch)[mask], network.predictions[mask], atol=1e-4
    )
