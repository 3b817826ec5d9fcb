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
    if flags.FLAGS["match"].present:
        raise UserError(
            "--match goes with --predictions; --model's are matched by video "
            "and utterance: leave it out"
        )
    from affwild_omg.evaluation import evaluator

    metrics = evaluator.evaluate(
        options.read(EvaluationOptions), overwrite=flags.FLAGS.overwrite
    )
    return evaluator.table(metrics)


def _score_submission():
    given = {
        name
        for name in ("predictions", "annotations", "model", "records")
        if flags.FLAGS[name].value
    }
    if given != {"predictions", "annotations"}:
        raise UserError(
            "--predictions goes with --annotations, and with neither --model "
            "nor --records; give the one pair or the other"
        )
    allowed = given | {"model", "records"}  # if empty
    allowed |= {field.name for field in dataclasses.fields(SubmissionOptions)}
    for field in dataclasses.fields(EvaluationOptions):
        if field.name not in allowed and flags.FLAGS[field.name].present:
            raise UserError(
                f"--{field.name} goes with --model; --predictions are scored "
                "by utterance: leave it out"
            )
    from affwild_omg.evaluation import submission

    metrics = submission.score(
        options.read(SubmissionOptions), overwrite=flags.FLAGS.overwrite
    )
    return submission.table(metrics)


run = functools.partial(app.run, main)


if __name__ == "__main__":
    run()
