"""Exports a trained model: SavedModel, ONNX, LiteRT."""

from affwild_omg.cli import app
from affwild_omg.serving.options import ExportOptions


@app.command(ExportOptions, overwrite="an earlier export")
def main(options: ExportOptions, *, overwrite: bool) -> None:
    metrics = None
    if options.results:
        from affwild_omg.evaluation import results

        metrics = results.read(options.results, flag="--results").to_dict()
    from affwild_omg.serving import exporting

    path = exporting.export(options, overwrite=overwrite, metrics=metrics)
    app.show(f"{', '.join(options.format)} in {path}")


if __name__ == "__main__":
    main()
