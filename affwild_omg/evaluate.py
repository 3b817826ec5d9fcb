"""Evaluates a model on a split of prepared records.

Or, in the place of a model, scores a table of anyone's predictions as the
organisers' script does.
"""

import dataclasses
import functools

from absl import flags

from affwild_omg.cli import app, options
from affwild_omg.cli.errors import UserError
from affwild_omg.evaluation.options import EvaluationOptions, SubmissionOptions

options.define(
    EvaluationOptions, SubmissionOptions, overwrite="an earlier evaluation"
)
options.require("model", "records", unless=["predictions", "annotations"])


def main():
    if flags.FLAGS.predictions or flags.FLAGS.annotations:
        lines = _score_submission()
    else:
        lines = _evaluate()
    app.show(*lines, f"results in {flags.FLAGS.output}")


def _evaluate():
    given = _read(EvaluationOptions, other=SubmissionOptions)
    from affwild_omg.evaluation import evaluator

    found = evaluator.evaluate(given, overwrite=flags.FLAGS.overwrite)
    return evaluator.table(found)


def _score_submission():
    given = _read(SubmissionOptions, other=EvaluationOptions)
    if not (given.predictions and given.annotations):
        raise UserError("--predictions goes with --annotations; give both")
    from affwild_omg.evaluation import submission

    found = submission.score(given, overwrite=flags.FLAGS.overwrite)
    return submission.table(found)


def _read(kind, *, other):
    """Reads options of a kind; refuses flags that only the other kind has."""
    own = [field.name for field in dataclasses.fields(kind)]
    for field in dataclasses.fields(other):
        flag = flags.FLAGS[field.name]
        if field.name not in own and flag.present and flag.value:
            raise UserError(
                f"--{field.name} does not go with --{own[0]}; leave one of "
                "the two out"
            )
    return options.read(kind)


run = functools.partial(app.run, main)


if __name__ == "__main__":
    run()
