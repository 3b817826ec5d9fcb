"""Trains a network on prepared records."""

from absl import flags

from affwild_omg.cli import app
from affwild_omg.published import networks
from affwild_omg.training.options import TrainingOptions

flags.DEFINE_bool("list_architectures", False, "List all networks and exit.")
flags.DEFINE_bool(
    "resume",
    False,
    "Continue the training in the workdir from its last checkpoint; its flags "
    "must be the same, but for --epochs (unless --schedule=cosine), "
    "--patience, --checkpoint_every, --keep_checkpoints, --profile_steps, "
    "--data_service and the places of records, workdir and cached features.",
)
flags.DEFINE_bool(
    "slurm",
    False,
    "Train together with the other tasks of this Slurm step, in place of those "
    "that TF_CONFIG names, if it is set.",
)


@app.command(
    TrainingOptions,
    overwrite="the training in the workdir",
    unless=["list_architectures"],
    interrupted="the workdir keeps this training's last checkpoint, if it has "
    "one, and --resume goes on from it; leave --resume out where there is no "
    "workdir yet",
)
def main(options: TrainingOptions, *, overwrite: bool) -> None:
    if flags.FLAGS.list_architectures:
        app.show(*networks.list_networks())
        return
    # What is wrong is told before TensorFlow takes its time.
    options.loss_settings(options.network().targets)
    options.require_sources(flags.FLAGS.resume)
    from affwild_omg.training import cluster

    workers = cluster.of_environment(slurm=flags.FLAGS.slurm)
    from affwild_omg.cli import wording
    from affwild_omg.training import loop

    summary = loop.train(
        options,
        overwrite=overwrite,
        resume=flags.FLAGS.resume,
        cluster=workers,
    )
    if workers and not workers.chief:
        return
    app.show(
        f"best epoch {summary['best_epoch']} of {len(summary['epochs'])}, "
        f"validation CCC {wording.number(summary['best_ccc'])}",
        f"model in {options.workdir}; watch it with "
        f"tensorboard --logdir={options.workdir}",
    )


if __name__ == "__main__":
    main()
