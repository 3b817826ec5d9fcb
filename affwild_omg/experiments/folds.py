"""Folds of a cross-validation: other splits of the same records (section 7).

A fold is a records folder of its own, whose training and validation splits are
made anew of those of the corpus. It holds a manifest alone: the records stay
where they are, and its link `records` leads to them.
"""

import contextlib
import json
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from affwild_omg.cli.errors import UserError, listed
from affwild_omg.data import manifest
from affwild_omg.storage import files

_LINK = "records"
_SPLITS = ("train", "validation")


def write(
    records: pathlib.Path,
    output: pathlib.Path,
    *,
    by: str,
    count: int,
    overwrite: bool = False,
) -> None:
    """Writes the folds of a corpus, `<output>/0` and so on.

    Each utterance of training and validation is in the validation split of one
    fold and in the training split of all others. The folds have about as many
    utterances each, and the same ones whenever they are written.

    Args:
        records: that were prepared; an absolute path.
        output: a folder that may hold them already.
        by: what no two folds share: "video", "source" or "person". Videos stay
            whole in any case.
        count: how many folds.
        overwrite: replace those of other records.

    Raises:
        UserError: the records cannot be used, do not say by what to part them,
            or cannot be parted into so many folds; or there are those of
            others.
    """
    whole = manifest.read(records)
    entries = [
        {"folder": f"{_LINK}/{split}"} | entry
        for split in _SPLITS
        for entry in whole.content["splits"]
        .get(split, {})
        .get("utterances", ())
    ]
    fold_of = _share(_groups(records, entries, by), by, count)
    about = {"by": by, "records_sha256": whole.digest}
    for place in () if overwrite else output.glob(f"*/{manifest.MANIFEST}"):
        known = {}
        with contextlib.suppress(ValueError):  # a damaged one
            known = json.loads(place.read_text(encoding="utf-8"))
        if known.get("fold", {}).get("records_sha256") != whole.digest:
            raise UserError(
                f"{output} holds folds of other records than {records}; name "
                "another --output, or give --overwrite to replace them"
            )
    for number in range(count):
        folder = output / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        link = folder / _LINK
        if not link.exists() or not link.samefile(records):
            link.unlink(missing_ok=True)
            os.symlink(records, link, target_is_directory=True)
        splits = {
            split: _part(
                [
                    entry
                    for entry, fold in zip(entries, fold_of, strict=True)
                    if (fold == number) == (split == "validation")
                ]
            )
            for split in _SPLITS
        }
        content = whole.content | {"splits": splits}
        content["fold"] = about | {"of": count}
        files.write_json(folder / manifest.MANIFEST, content)


def _part(entries):
    return {
        **dict.fromkeys(("expected", "found", "prepared"), len(entries)),
        "frames": sum(entry["frames"] for entry in entries),
        "utterances": entries,
    }


def _groups(records, entries, by):
    """Returns the number of the group that each utterance belongs to.

    Utterances of one video are together, and so are those of one source or
    person, over however many steps.
    """
    names = {x: [entry.get(x) for entry in entries] for x in ("video", by)}
    bare = [x["video"] for x in entries if not x.get(by)]
    if bare:
        raise UserError(
            f"--folds_by={by}: {len(bare)} utterances of --records={records} "
            f"have no {by} in {manifest.MANIFEST}, such as those of "
            f"{listed(list(dict.fromkeys(bare)))}; give --folds_by=video"
        )
    videos, others = (
        np.unique(x, return_inverse=True)[1]
        for x in (names["video"], names[by])
    )
    first = videos.max(initial=-1) + 1  # of the second kind of nodes
    size = first + others.max(initial=-1) + 1
    edges = sparse.coo_array(
        (np.ones(len(videos)), (videos, first + others)), shape=(size, size)
    )
    _, group_of = csgraph.connected_components(edges, directed=False)
    return group_of[videos]


def _share(groups: Sequence[int], by, count):
    """Returns the fold of each utterance: groups to the lightest, by size."""
    names, sizes = np.unique(groups, return_counts=True)
    if len(names) < count:
        raise UserError(
            f"--folds_by={by} parts the utterances into {len(names)} groups, "
            f"which are too few for {count} folds; give another, or leave "
            "cross-validation out of --rows"
        )
    weights, fold_of = np.zeros(count, int), {}
    for i in np.argsort(-sizes, kind="stable"):
        fold_of[names[i]] = lightest = int(np.argmin(weights))
        weights[lightest] += sizes[i]
    return [fold_of[group] for group in groups]
