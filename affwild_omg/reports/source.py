"""What a report is about: results, and what follows from them."""

import base64
import dataclasses
import functools
import pathlib
from collections.abc import Callable

import numpy as np
import pandas as pd

from affwild_omg.evaluation.results import Results
from affwild_omg.paper.task import TARGETS
from affwild_omg.published import tables
from affwild_omg.reports.options import ReportOptions
from affwild_omg.scoring import breakdown
from affwild_omg.scoring.breakdown import Group


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """What all sections of a report share.

    Attributes:
        options: what the user asked for.
        directory: where pictures and tables are written.
        results: of all utterances, with their frames if there are any.
        corpus: its name, None if it is not known.
    """

    options: ReportOptions
    directory: pathlib.Path
    results: Results
    corpus: str | None

    @functools.cached_property
    def labelled(self) -> Results:
        """The results of the utterances that have labels."""
        return self.results.subset(self.results.labelled)

    @functools.cached_property
    def utterances(self) -> pd.DataFrame:
        """All utterances, by key.

        The columns are "video", "utterance", "true_<target>" and
        "predicted_<target>" of each target, their "distance" in the plane, NaN
        without a label of each target, and, if there are frames, "seconds".
        """
        found, frames = self.results, self.results.frames
        names = [key.rpartition("/")[::2] for key in found.keys]
        table = pd.DataFrame(names, found.keys, ["video", "utterance"])
        for column, target in enumerate(found.targets):
            table[f"true_{target}"] = found.labels[:, column]
            table[f"predicted_{target}"] = found.predictions[:, column]
        errors = found.predictions - found.labels
        table["distance"] = np.linalg.norm(errors, axis=1)
        if frames:
            table["seconds"] = pd.Series(frames.durations, frames.keys)
        return table

    @functools.cached_property
    def groups(self) -> dict[str, list[Group]]:
        """Scores by "region", "length" and "video", as far as is known.

        Regions are those of the paper's table 7, of utterances with both
        labels; lengths need frames; videos stand in the order of their mean
        MSE, the worst first.
        """
        found, masks = self.labelled, {}
        if not found.keys:
            return {}
        if found.targets == TARGETS:
            masks["region"] = {
                region.heading: region.contains(*found.labels.T)
                for region in tables.TABLES["7"].rows
            }
        rows = self.utterances.loc[found.keys]
        if "seconds" in rows and rows["seconds"].notna().all():
            masks["length"] = breakdown.by_length(rows["seconds"].to_numpy())
        masks["video"] = breakdown.by_video(found.videos)
        data = found.labels, found.predictions, found.videos
        groups = {
            kind: breakdown.by_group(
                *data, masks[kind], found.targets, found.clusters
            )
            for kind in masks
        }
        groups["video"].sort(
            key=lambda x: -np.mean([score.mse for score in x.scores.values()])
        )
        return groups

    def draw(self, name: str, function: Callable, *args, **options) -> str:
        """Draws a picture by a function of `figures`.

        Args:
            name: of the PNG, one of `report.PICTURES`.
            function: what draws it, by its path and the other arguments.

        Returns:
            The PNG as a data: URI, which the page holds itself.
        """
        path = self.directory / f"{name}.png"
        function(path, *args, **options)
        encoded = base64.b64encode(path.read_bytes()).decode("ascii")
        return f"data:image/png;base64,{encoded}"
