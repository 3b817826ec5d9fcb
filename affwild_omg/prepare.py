"""Prepares a corpus: clips become records of aligned faces."""

from affwild_omg.cli import app
from affwild_omg.preparation.options import PreparationOptions


@app.command(PreparationOptions, overwrite="earlier records")
def run(options: PreparationOptions, *, overwrite: bool) -> None:
    from affwild_omg.preparation import engine

    manifest = engine.prepare(options, overwrite=overwrite)
    app.show(*engine.table(manifest), f"records in {options.records}")


if __name__ == "__main__":
    run()
