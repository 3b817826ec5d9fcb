"""Compares two evaluated runs: is one better, or is it sampling noise?

Both are scored on the same utterances; of anyone's predictions in a CSV, on
those that both have. How far the difference of their CCCs can be trusted is
told from drawing and swapping whole videos, or sources where they are known.
"""

from affwild_omg.cli import app
from affwild_omg.evaluation.options import ComparisonOptions


@app.command(ComparisonOptions, overwrite="an earlier comparison")
def main(options: ComparisonOptions, *, overwrite: bool) -> None:
    from affwild_omg.evaluation import comparison

    compared = comparison.compare(options, overwrite=overwrite)
    app.show(*comparison.table(compared), f"comparison in {options.output}")


if __name__ == "__main__":
    main()
