"""Trains a network on prepared records."""

from absl import flags

from affwild_omg import cli

flags.DEFINE_string(
    "records", None, "Folder that affwild_omg.prepare wrote.", required=True
)
flags.DEFINE_string(
    "workdir",
    None,
    "Folder for the trained model, its history and TensorBoard's files.",
    required=True,
)
flags.DEFINE_string(
    "architecture",
    "cnn_3rnn",
    "Network: vgg_face, cnn_1rnn, cnn_3rnn, cnn_2rnn, cnn2_to_1rnn, "
    "cnn_2rnn_1fc or cnn_3rnn_1fc.",
)
flags.DEFINE_float(
    "width", 1.0, "Fraction of the channels of the CNN, in (0, 1]."
)
flags.DEFINE_integer(
    "units", 0, "Units of each GRU layer; 0 leaves the architecture's, 128."
)
flags.DEFINE_integer("sequence_length", 80, "Frames of a window.")
flags.DEFINE_integer("batch_size", 4, "Windows a step, over all GPUs.")
flags.DEFINE_float(
    "learning_rate",
    1e-4,
    "Adam's learning rate. The paper: 1e-4 or 1e-5 end to end, 1e-3 with the "
    "CNN fixed.",
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
cli.define_overwrite("the run in the workdir")


def main():
    from affwild_omg import training

    summary = training.train(
        cli.options(training.Options),
        overwrite=flags.FLAGS.overwrite,
        resume=flags.FLAGS.resume,
    )
    cli.show(
        f"best epoch {summary['best_epoch']} of {len(summary['epochs'])}, "
        f"validation CCC {summary['best_ccc']:.3f}",
        f"model in {flags.FLAGS.workdir}; watch it with "
        f"tensorboard --logdir={flags.FLAGS.workdir}",
    )


if __name__ == "__main__":
    cli.run(main)
