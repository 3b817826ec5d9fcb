"""Prepares a corpus: clips become records of aligned faces.

Given again, the same command goes on with what was interrupted, and makes
records anew that are damaged; --verify --records=FOLDER tells which are.
"""

from affwild_omg.cli import app
from affwild_omg.cli.errors import UserError
from affwild_omg.preparation.options import (
    PreparationOptions,
    VerificationOptions,
)


@app.command(
    PreparationOptions,
    VerificationOptions,
    overwrite="earlier records",
    interrupted="finished clips are kept, and the same command goes on",
)
def main(
    options: PreparationOptions | VerificationOptions, *, overwrite: bool
) -> None:
    if isinstance(options, VerificationOptions):
        from affwild_omg.preparation import verification

        if overwrite:
            raise UserError(
                "--overwrite does not go with --verify, which writes nothing; "
                "leave one of the two out"
            )
        app.show(verification.verify(options))
        return
    from affwild_omg.preparation import engine, manifest

    if options.shard:
        app.show(engine.prepare_shard(options, overwrite=overwrite))
        return
    made = engine.prepare(options, overwrite=overwrite)
    app.show(*manifest.table(made), f"records in {options.records}")


if __name__ == "__main__":
    main()
