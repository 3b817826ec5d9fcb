"""Prepares a corpus: clips become records of aligned faces."""

from absl import flags

from affwild_omg.cli import app, options
from affwild_omg.preparation.options import PreparationOptions

options.define(PreparationOptions, overwrite="earlier records")


def main():
    from affwild_omg.preparation import engine

    manifest = engine.prepare(
        options.read(PreparationOptions), overwrite=flags.FLAGS.overwrite
    )
    app.show(*engine.table(manifest), f"records in {flags.FLAGS.records}")


def run():
    app.run(main)


if __name__ == "__main__":
    run()
