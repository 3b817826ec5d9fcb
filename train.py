"""Trains a network on prepared records."""

from absl import flags

from affwild_omg.cli import app
from affwild_omg.published import tables
from affwild_omg.training import options as training_options

flags.DEFINE_bool(
    "list_architectures", False, "Show the networks there are, and end."
)
flags.DEFINE_string("records", None, "Folder that affwild_omg.prepare wrote.")
flags.DEFINE_string(
    "workdir",
    None,
    "Folder for the trained model, its history and TensorBoard's files.",
)
app.require("records", "workdir", unless=["list_architectures"])

# The network: a row of --list_architectures, and what is to differ from it.
flags.DEFINE_string(
    "architecture", "cnn_3rnn", "Network; --list_architectures shows all."
)
flags.DEFINE_list(
    "members",
    None,
    "Of a fusion: two networks or more in the place of its own, each a name, "
    "or a workdir or .keras file that brings its weights.",
)
flags.DEFINE_string(
    "backbone", None, "vgg_face, resnet50, densenet121 or resnet50_slim."
)
flags.DEFINE_list(
    "taps", None, "Layers whose features are used, such as pool2,conv3_1,fc."
)
flags.DEFINE_enum(
    "recurrence",
    None,
    ["none", "joint", "per_tap"],
    "GRUs: none, one stack on all taps, or a stack for each tap.",
)
flags.DEFINE_integer("units", None, "Units of each GRU layer (the paper: 128).")
flags.DEFINE_integer("depth", None, "GRU layers in a stack (the paper: 2).")
flags.DEFINE_integer(
    "fc_units",
    None,
    "Units of the fully connected layer (the paper: 4096 on VGG-Face, else "
    "1500).",
)
flags.DEFINE_bool(
    "landmarks", None, "Whether the 68 landmarks are an input, too."
)
flags.DEFINE_integer(
    "landmark_units",
    None,
    "Units of a layer that encodes the landmarks (the paper: 512, 1024, 2048); "
    "0: none.",
)
flags.DEFINE_integer(
    "head_units", None, "Units of a layer before the output; 0: none."
)
flags.DEFINE_list("targets", None, "valence, arousal or both.")
flags.DEFINE_enum(
    "gru",
    None,
    ["reset_before", "cudnn"],
    "Where the reset gate acts: before the matrix product (the authors'), or "
    "after it, as NVIDIA's kernels do.",
)
flags.DEFINE_float(
    "fc_dropout", None, "Dropout rate after the fully connected layer."
)
flags.DEFINE_float("rnn_dropout", None, "Dropout rate between GRU layers.")
flags.DEFINE_float(
    "width", None, "Fraction of the channels of the CNN and of fc, in (0, 1]."
)
flags.DEFINE_integer(
    "fusion_units", None, "Units of a fusion's own layer (the paper: 128)."
)

# Where its weights come from, and which of them are trained.
flags.DEFINE_string(
    "init_from",
    None,
    "Workdir, .keras file, VGG-Face weights (.mat, .h5, .npz) or ImageNet "
    "weights (.h5) to start from: every weight that fits is taken.",
)
flags.DEFINE_bool(
    "init_strict", False, "Refuse to start unless all of --init_from fits."
)
flags.DEFINE_enum(
    "train",
    "all",
    ["all", "head", "output"],
    "What is trained: all; all but the CNN; or what is above the RNNs, and of "
    "a fusion above its members.",
)
flags.DEFINE_integer("sequence_length", 80, "Frames of a window.")
flags.DEFINE_integer("batch_size", 4, "Windows a step, over all GPUs.")
flags.DEFINE_float(
    "learning_rate",
    1e-4,
    "Adam's learning rate. The paper: 1e-4 or 1e-5 end to end, 1e-3 with the "
    "CNN fixed.",
)
flags.DEFINE_list(
    "part_learning_rates",
    None,
    "Learning rates of parts that take another: cnn, fc, rnn or output, such "
    "as cnn=1e-5,rnn=1e-3.",
)
flags.DEFINE_integer("epochs", 50, "Passes over the training split, at most.")
flags.DEFINE_integer(
    "patience",
    10,
    "Epochs without a better validation CCC before the run stops; 0: never.",
)
flags.DEFINE_enum(
    "loss_level",
    "sequence",
    ["sequence", "frame"],
    "What CCC compares in the loss: means of sequences, or frames.",
)
flags.DEFINE_bool(
    "shuffle_labels",
    False,
    "Permute the labels among the utterances: a control with nothing to learn.",
)
flags.DEFINE_integer(
    "seed", 0, "Seed of weights, dropout, order and permutation."
)
flags.DEFINE_bool(
    "resume", False, "Go on with the run of the same flags in the workdir."
)
app.define_overwrite("the run in the workdir")


def main():
    if flags.FLAGS.list_architectures:
        app.show(*tables.list_networks())
        return
    options = app.options(training_options.Options)
    options.network()  # tells what is wrong before TensorFlow takes its time
    from affwild_omg.cli import wording
    from affwild_omg.training import loop

    summary = loop.train(
        options,
        overwrite=flags.FLAGS.overwrite,
        resume=flags.FLAGS.resume,
    )
    app.show(
        f"best epoch {summary['best_epoch']} of {len(summary['epochs'])}, "
        f"validation CCC {wording.number(summary['best_ccc'])}",
        f"model in {flags.FLAGS.workdir}; watch it with "
        f"tensorboard --logdir={flags.FLAGS.workdir}",
    )


if __name__ == "__main__":
    app.run(main)
