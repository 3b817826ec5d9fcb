"""Pictures of results, with matplotlib."""

from affwild_omg.figures.agreement import (
    calibration,
    distributions,
    plane_histograms,
    reliability,
    scatter,
)
from affwild_omg.figures.comparison import groups, videos
from affwild_omg.figures.contact_sheets import contact_sheet
from affwild_omg.figures.courses import timeline, timelines, training
from affwild_omg.figures.tables import published_against_measured

__all__ = [
    "calibration",
    "contact_sheet",
    "distributions",
    "groups",
    "plane_histograms",
    "published_against_measured",
    "reliability",
    "scatter",
    "timeline",
    "timelines",
    "training",
    "videos",
]
