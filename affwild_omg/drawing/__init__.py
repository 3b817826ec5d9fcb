"""Pictures of results, with matplotlib."""

from affwild_omg.drawing.agreement import (
    calibration,
    distributions,
    plane_histograms,
    reliability,
    scatter,
)
from affwild_omg.drawing.comparison import groups, videos
from affwild_omg.drawing.contact_sheets import contact_sheet
from affwild_omg.drawing.courses import timeline, timelines, training
from affwild_omg.drawing.tables import published_against_measured

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
