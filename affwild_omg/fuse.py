"""Fuses evaluated runs: each utterance takes their weighted average.

Decision-level fusion: in valence and in arousal, a run weighs as much as its
CCC on validation.
"""

from affwild_omg.cli import app
from affwild_omg.evaluation.options import FusionOptions


@app.command(FusionOptions, overwrite="an earlier fusion")
def main(options: FusionOptions, *, overwrite: bool) -> None:
    from affwild_omg.evaluation import fusion

    fused = fusion.fuse(options, overwrite=overwrite)
    app.show(*fusion.table(fused), f"results in {options.output}")


if __name__ == "__main__":
    main()
