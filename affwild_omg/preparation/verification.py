"""What is damaged of records, held against their manifest's checksums."""

from absl import logging

from affwild_omg.cli import progress, wording
from affwild_omg.cli.errors import UserError, listed
from affwild_omg.data import manifest as manifests
from affwild_omg.data.manifest import Clip, Manifest
from affwild_omg.preparation.options import VerificationOptions


def damaged(records: Manifest) -> dict[tuple[str, str], Clip]:
    """Reads all records, tells each file that is damaged, and changes nothing.

    Returns:
        {(split, key): clip} of the damaged.
    """
    clips = [(split, clip) for split, x in records.splits.items() for clip in x]
    found = {}
    for split, clip in progress.bar(
        clips, description="checking records", unit="clip"
    ):
        if fault := clip.damage():
            logging.error("%s of %s: %s", clip.key, split, fault)
            found[split, clip.key] = clip
    return found


def verify(options: VerificationOptions) -> str:
    """Checks all records of a folder; returns a line that they are whole.

    Raises:
        UserError: there are none, or some are damaged, which are told.
    """
    records = manifests.read(options.records)
    found = damaged(records)
    number = wording.count(sum(map(len, records.splits.values())), "clip")
    if found:
        keys = [f"{key} of {split}" for split, key in found]
        raise UserError(
            f"--records={options.records}: of {number}, {len(found)} damaged "
            f"({listed(keys)}); the command that prepared them, without "
            "--shard or --merge, makes these anew, and leaves the others as "
            "they are"
        )
    return f"all records of {number} in {options.records} are whole"
