"""Measures how noisy the gradient of CCC is, by the sequences it is formed on.

    make demo
    python benchmarks/gradient_noise.py --model=checkpoints/demo/run

At the weights of a trained model, without dropout, it draws batches of N
windows of its training records, and prints for each N the mean loss, and the
variance of the gradient over the batches in units of its mean's square. A mean
over more windows at once would fall as 1/N; CCC of few windows is biased, too.
"""

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from affwild_omg.data import manifest, pipeline
from affwild_omg.storage import remote
from affwild_omg.training.step import Step
from affwild_omg.weights import model_file
from affwild_omg.weights import workdir as workdirs

_MODEL = flags.DEFINE_string("model", None, "Workdir of a training.")
_SIZES = flags.DEFINE_multi_integer("windows", [4, 16, 64], "Windows N.")
_BATCHES = flags.DEFINE_integer("batches", 40, "Batches of each N.", 2)
_AT_ONCE = flags.DEFINE_integer("at_once", 4, "Windows at once.", 1)
flags.mark_flag_as_required("model")


def main(_) -> None:
    """Prints a line for each N; of a training on several records, fails."""
    workdir = remote.path(_MODEL.value)
    model, card = model_file.load_model(workdir)
    history = workdirs.read_history(workdir)
    records = manifest.read(history["options"]["records"])
    clips = records.clips("train")
    strategy = tf.distribute.get_strategy()
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.trainable = False  # which turns it off
    # Its step is the gradient, which is what the weights lose.
    optimizer = keras.optimizers.SGD(1.0)
    optimizer.build(model.trainable_variables)
    start = [x.numpy().copy() for x in model.trainable_variables]
    random = np.random.default_rng(0)
    total = pipeline.count(clips, card.sequence_length, card.tail)
    if max(_SIZES.value) > total:
        raise app.UsageError(f"--windows is more than the {total} of train")
    print("windows  loss  variance of the gradient / square of its mean")
    for size in _SIZES.value:
        step = Step(
            *(model, optimizer, strategy, history["options"]["loss_level"]),
            at_once=_AT_ONCE.value,
        )
        order = np.concatenate(
            [random.permutation(total)[:size] for _ in range(_BATCHES.value)]
        )
        windows = pipeline.windows(
            clips,
            sequence_length=card.sequence_length,
            tail=card.tail,
            order=order,
        )
        losses, gradients = [], []
        for batch in pipeline.batches(windows, size, at_once=_AT_ONCE.value):
            names = [*(x.name for x in model.inputs), "labels"]
            given = {name: batch[name] for name in {*names, "mask"}}
            number = tf.zeros(len(batch["mask"]), tf.int64)
            loss, *_ = step(given | {"number": number})
            losses.append(float(loss))
            moved = []
            for weight, value in zip(
                model.trainable_variables, start, strict=True
            ):
                moved.append((value - weight.numpy()).ravel())
                weight.assign(value)
            gradients.append(np.concatenate(moved))
        gradients = np.array(gradients)
        mean = gradients.mean(axis=0)
        # Unbiased: that of so few batches has a part of the variance.
        variance = gradients.var(axis=0, ddof=1).sum()
        square = mean @ mean - variance / len(gradients)
        ratio = f"{variance / square:.2f}" if square > 0 else "-"
        print(f"{size:7} {np.mean(losses):.3f}  {ratio}", flush=True)


if __name__ == "__main__":
    app.run(main)
