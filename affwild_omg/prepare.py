"""Prepares a corpus: clips become records of aligned faces."""

from affwild_omg.cli import app
from affwild_omg.preparation.options import PreparationOptions


@app.command(
    PreparationOptions,
    overwrite="earlier records",
    interrupted="finished clips are kept, and the same command goes on",
)
def main(options: PreparationOptions, *, overwrite: bool) -> None:
    from affwild_omg.preparation import engine, manifest

    made = engine.prepare(options, overwrite=overwrite)
    app.show(*manifest.table(made), f"records in {options.records}")


if __name__ == "__main__":
    main()
