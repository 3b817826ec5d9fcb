"""Export: a trained model becomes files that stand alone."""

import pathlib
from collections.abc import Mapping

from affwild_omg.cli.errors import UserError
from affwild_omg.inference.predictor import keras_predictor
from affwild_omg.serving import card as model_card
from affwild_omg.serving import golden, portable, saved_model, warmup
from affwild_omg.serving.options import ExportOptions
from affwild_omg.storage import files, remote
from affwild_omg.weights import model_file

_PARTS = (  # of what export writes, whoever wrote it
    model_card.TEXT,
    "saved_model.pb",
    "fingerprint.pb",
    "variables",
    "assets",
    "assets.extra",
    *portable.FILES,
)
# Without these a folder is no export.
_LAST = ("assets.extra", "saved_model.pb")


def export(
    options: ExportOptions,
    *,
    overwrite: bool = False,
    metrics: Mapping | None = None,
) -> pathlib.Path:
    """Writes a workdir's best model, or a model file, for other programs.

    See `saved_model.signatures` and `portable` for the inputs and outputs.
    `inference.golden` tells what is carried to be checked by elsewhere.

    Args:
        options: what and where.
        overwrite: replace what an export has left there.
        metrics: what the evaluation in `options.results` found.

    Returns:
        The folder of the model.

    Raises:
        UserError: the model cannot be loaded, the output cannot be used, the
            results are of another model, or a package that a format needs is
            not installed or does not do what the network does.
    """
    if bool(options.results) != (metrics is not None):
        raise ValueError("metrics: those of options.results are needed")
    if options.warmup:
        warmup.require()
    portable.require(options)
    output = remote.path(options.output)
    version = str(options.version) if options.version else None
    if version:
        if model_file.is_exported(output):
            raise UserError(
                f"--output={output} is what export wrote itself; name another "
                "folder for its versions"
            )
    place = output / version if version else output
    files.check_output(place, flag="--output", overwrite=overwrite)
    if not (files.is_empty(place) or _is_ours(place)):
        raise UserError(
            f"--output={output}: --overwrite replaces what export wrote, and "
            f"{place} is not of it; name another folder"
        )
    # A version moves into place as one folder, so that a server that watches
    # never sees a part of it; elsewhere there are no such moves.
    beside = version and not files.is_remote(output)
    with files.atomic_directory(
        output if beside else place,
        flag="--output",
        # Beside other versions; the one of this number was checked.
        overwrite=overwrite or bool(beside),
        owned=() if beside else _PARTS,
        last=() if beside else _LAST,
    ) as directory:
        network, card = model_file.load_model(options.model, stateful=True)
        known = model_card.facts(
            remote.path(options.model), card, network.count_params(), metrics
        )
        made = directory / (version if beside else ".")
        if "saved_model" in options.format:
            computed = saved_model.signatures(network, card)
            saved_model.write(network, computed, made)
        extra = made / model_file.EXPORTED_CARD
        extra.parent.mkdir(parents=True)
        extra.write_text(card.to_json(), encoding="utf-8")
        model_card.write(made, known)
        predictor = keras_predictor(network, card)
        golden.write(made, predictor)
        if options.warmup:
            warmup.write(made, computed, card.sequence_length)
        portable.write(network, predictor, made, options)
    return place


def _is_ours(folder):
    """Tells whether a folder is an export, or what is left of one."""
    return model_file.is_exported(folder) or all(
        x.name.startswith(files.PARTIAL) or x.name in _PARTS
        for x in folder.glob("*")
    )
