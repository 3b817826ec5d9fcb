"""Exports a trained model as a SavedModel."""

from affwild_omg.cli import app
from affwild_omg.serving.options import ExportOptions


@app.command(ExportOptions, overwrite="an earlier SavedModel")
def main(options: ExportOptions, *, overwrite: bool) -> None:
    metrics = None
    if options.results:
        from affwild_omg.evaluation import results

        metrics = results.read(options.results, flag="--results").to_dict()
    from affwild_omg.serving import saved_model

    path = saved_model.export(options, overwrite=overwrite, metrics=metrics)
    app.show(f"SavedModel in {path}")


if __name__ == "__main__":
    main()
