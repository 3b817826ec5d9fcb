"""Pictures of results, with matplotlib."""

from affwild_omg.figures.agreement import plane_histograms, scatter
from affwild_omg.figures.comparison import groups
from affwild_omg.figures.contact_sheets import contact_sheet
from affwild_omg.figures.courses import Course, timeline, timelines, training
from affwild_omg.figures.face_sheets import FaceSheet
from affwild_omg.figures.labels import label_planes
from affwild_omg.figures.tables import published_against_measured

__all__ = [
    "Course",
    "FaceSheet",
    "contact_sheet",
    "groups",
    "label_planes",
    "plane_histograms",
    "published_against_measured",
    "scatter",
    "timeline",
    "timelines",
    "training",
]
