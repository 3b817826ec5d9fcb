"""Imports a TensorFlow 1 checkpoint of the paper's authors."""

from affwild_omg.cli import app
from affwild_omg.weights.options import ImportOptions


@app.command(ImportOptions, overwrite="an earlier model file")
def main(options: ImportOptions, *, overwrite: bool) -> None:
    from affwild_omg.training.options import flags_of
    from affwild_omg.weights import model_file, tf1

    path = tf1.convert(options, overwrite=overwrite)
    architecture = model_file.read_card(path).architecture
    app.show(
        f"model in {path}",
        "to train from it: train.py --records=... --workdir=... "
        f"--init_from={path} {flags_of(architecture)}",
    )


if __name__ == "__main__":
    main()
