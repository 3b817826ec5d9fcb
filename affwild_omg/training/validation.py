"""Validation: the clips that choose the best epoch, and what they compare."""

import hashlib
import math

from absl import logging

from affwild_omg.cli.errors import UserError
from affwild_omg.data import manifest, pipeline
from affwild_omg.data.manifest import Manifest, labels_vary
from affwild_omg.paper.task import TARGETS
from affwild_omg.training.options import TrainingOptions


def read(options: TrainingOptions) -> Manifest:
    """Reads the records; without a validation split, some of train are one.

    Of several folders, that goes for the first; the others add to train.

    A hash of its name decides of each person; where none is known, of the
    source, else of the video: what is added to a corpus moves nothing else.

    Raises:
        UserError: the records cannot be used, have a validation split beside
            --holdout, or have none without it; or a part would be empty.
    """
    folder, *others = options.folders()
    records = _deciding(folder, options.holdout)
    for folder in others:
        records = records.adding(manifest.read(folder))
    return records


def _deciding(folder, holdout):
    """Returns the records whose validation split decides."""
    records = manifest.read(folder)
    where = f"--records={folder}"
    if "validation" in records.splits:
        if holdout:
            raise UserError(
                f"--holdout={holdout:g}: {where} has a validation "
                "split of its own; leave --holdout out"
            )
        return records
    train = records.clips("train")
    if not holdout:
        raise UserError(
            f"{where} has no validation split, which chooses the best epoch; "
            "--holdout=0.1 takes about a tenth of train for it"
        )
    keys = [clip.key for clip in train if _place(clip) < holdout]
    places = sorted({_place(clip) for clip in train})
    if len(places) < 2:
        raise UserError(
            f"{where}: the clips of train are all of one person, source or "
            "video, which is not parted; prepare more"
        )
    if len(keys) in (0, len(train)):
        near = math.floor(1e4 * places[-1 if keys else 0]) + (not keys)
        raise UserError(
            f"--holdout={holdout:g} takes {len(keys)} of the "
            f"{len(train)} clips of train, those of a person, source or video "
            "together, but both parts need some; the nearest share at which "
            f"they do is --holdout={near / 1e4:g}"
        )
    return records.holding_out(keys)


def _place(clip):
    """Returns a number in [0, 1) that depends on the clip's group alone."""
    digest = hashlib.sha256(clip.group.encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def level_of(options: TrainingOptions, records: Manifest) -> str:
    """Returns what validation compares: --validation_level, else by labels."""
    clips, targets = records.clips("validation"), options.network().targets
    # Shuffled labels are the clips' means.
    by_frame = not options.shuffle_labels and labels_vary(clips, targets)
    return options.validation_level or ("frame" if by_frame else "utterance")


def check(options: TrainingOptions, records: Manifest) -> None:
    """Checks that there is a batch, and that all have something to compare.

    Raises:
        UserError: as `Manifest.check`; a batch is larger than the split; or
            the labels are such that CCC is 0 whatever is predicted.
    """
    if records.held_out:
        logging.info(
            "%d clips of train are its validation", len(records.held_out)
        )
    for split in ("train", "validation"):
        records.check(split, labels=options.network().targets)
    windows = pipeline.count(
        *(records.clips("train"), options.sequence_length, options.tail),
        options.stride,
    )
    size_flag, size = options.step_windows()
    if size > windows:
        raise UserError(
            f"--{size_flag}={size} is more than the {windows} "
            f"windows of train, of --sequence_length={options.sequence_length} "
            f"frames each; give {windows} or fewer"
        )
    for split, flag, level in (
        ("train", "loss_level", options.loss_level),
        ("validation", "validation_level", level_of(options, records)),
    ):
        alone = split == "train" and size == 1
        clips = records.clips(split)
        if not _differ(options, clips, level, alone):
            way_out = "other records"
            if alone:
                way_out = f"--{size_flag}=2 or more"
            elif _differ(options, clips, "frame"):
                way_out = f"--{flag}=frame"
            raise UserError(
                f"--{flag}={level} compares labels of {split} that are all "
                f"equal{' in a batch of one window' * alone}, so that CCC is 0 "
                f"whatever is predicted; give {way_out}"
            )


def _differ(options, clips, level, alone=False):
    """Tells whether two rows of a level may differ in a label.

    Args:
        options: of the training.
        clips: that the rows are of.
        level: of the rows.
        alone: whether only rows of one window are compared.
    """
    # Within a clip: a frame alone is a row, or so many frames are.
    row = {"frame": 1, "utterance": math.inf}.get(
        level, options.sequence_length
    )
    for column in map(TARGETS.index, options.network().targets):
        own = [clip for clip in clips if clip.labelled[column]]
        # Shuffled labels are the clips' means.
        within = not options.shuffle_labels and any(
            clip.varies[column] and clip.frames > row for clip in own
        )
        between = len({clip.labels[column] for clip in own}) > 1
        if within or (between and not alone):
            return True
    return False
