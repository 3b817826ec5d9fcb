"""Evaluates a model on a split of prepared records.

Or, instead of a model, scores a table of anyone's predictions as the
organisers' script does.
"""

from affwild_omg.cli import app
from affwild_omg.evaluation.options import EvaluationOptions, SubmissionOptions


@app.command(
    EvaluationOptions, SubmissionOptions, overwrite="an earlier evaluation"
)
def main(
    options: EvaluationOptions | SubmissionOptions, *, overwrite: bool
) -> None:
    if isinstance(options, SubmissionOptions):
        from affwild_omg.evaluation import submission

        found = submission.score(options, overwrite=overwrite)
        lines = submission.table(found)
    else:
        from affwild_omg.evaluation import evaluator

        found = evaluator.evaluate(options, overwrite=overwrite)
        lines = evaluator.table(found)
    app.show(*lines, f"results in {options.output}")


if __name__ == "__main__":
    main()
