"""Prediction in bfloat16, beside that in float32."""

import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.inference import precision
from tests.nets.networks import inputs

INTEL = "flags : fpu sse2 avx512f avx512_bf16 amx_tile amx_bf16\n"
OLD = "flags : fpu sse2 avx512f avx512_vnni\n"


@pytest.fixture
def cpu(monkeypatch, tmp_path):
    def cpu(text):
        path = tmp_path / "cpuinfo"
        path.write_text(text)
        monkeypatch.setattr(precision, "CPU", path)

    return cpu


@pytest.mark.parametrize(
    ("text", "expected"), [(INTEL, "bfloat16"), (OLD, "float32")]
)
def test_what_the_cpu_has_is_chosen(cpu, text, expected):
    cpu(text)
    assert precision.choose("auto") == expected
    assert precision.choose("float32") == "float32"


def test_what_the_cpu_has_not_is_refused(cpu):
    cpu(INTEL)
    assert precision.choose("bfloat16") == "bfloat16"
    cpu(OLD)
    with pytest.raises(UserError, match="--precision=bfloat16.*avx512_bf16"):
        precision.choose("bfloat16")


@pytest.fixture
def gpu(tf, monkeypatch):
    def gpu(*capability):
        details = {"device_name": "Old One", "compute_capability": capability}
        for module, name, value in (
            (tf.config, "list_physical_devices", ["GPU:0"]),
            (tf.config.experimental, "get_device_details", details),
        ):
            monkeypatch.setattr(module, name, lambda _, value=value: value)

    return gpu


def test_a_gpu_computes_in_the_cpus_place(cpu, gpu):
    cpu(OLD)
    gpu(9, 0)
    assert precision.choose("auto") == precision.choose("bfloat16")
    # The other runtimes stay on the CPU.
    assert precision.choose("auto", "openvino") == "float32"
    cpu(INTEL)
    gpu(7, 5)
    assert precision.choose("auto") == "float32"
    with pytest.raises(UserError, match="Old One .compute capability 7.5"):
        precision.choose("bfloat16")


def test_a_loaded_model_computes_float32_in_float32(tf, small_run):
    from affwild_omg.inference.predictor import load_predictor

    tf.config.experimental.enable_tensor_float_32_execution(True)
    load_predictor(small_run[0].workdir)
    assert not tf.config.experimental.tensor_float_32_execution_enabled()


def test_bfloat16_is_near(small_run, small_saved_model, cpu):
    from affwild_omg.inference.predictor import load_predictor

    cpu(INTEL)
    batch = inputs(2, 30, seed=1)
    exact, near, exported = (
        load_predictor(path, precision=name).predict(batch)
        for path, name in (
            (small_run[0].workdir, "float32"),
            (small_run[0].workdir, "auto"),
            (small_saved_model, "bfloat16"),
        )
    )
    assert near.dtype == np.float32
    np.testing.assert_array_equal(exported, near)
    # Three digits, and no more than what rounding does.
    assert 1e-5 < np.abs(near - exact)[batch["mask"]].max() < 2e-2


def test_statistics_stay_float32(tf):
    import keras

    from affwild_omg.nets import models, parts
    from tests.nets.networks import small

    model = models.build(small("affwildnet", {}), dtype="bfloat16")
    kinds = {
        name: str(weight.dtype)
        for name, weight in parts.named_weights(model).items()
    }
    assert {
        (end, kind)
        for name, kind in kinds.items()
        for end in ("moving_mean", "recurrent_kernel", "fc/kernel")
        if name.endswith(end)
    } == {
        ("moving_mean", "float32"),
        ("recurrent_kernel", "bfloat16"),
        ("fc/kernel", "bfloat16"),
    }
    assert kinds["output/kernel"] == "float32"
    assert keras.config.dtype_policy().name == "float32"
