"""The task: what goes into every network of the paper, and what comes out."""

CROP_SIZE = 96  # pixels of an aligned face's side; section 4: "96x96x3"
LANDMARKS = 68  # points of the iBUG 300-W mark-up
PREPARATION = 1  # of crops and landmarks: raise it where they change
# Frames from one face detection to the next, unless told otherwise: about a
# second of film. The paper detects a face in every frame.
DETECT_EVERY = 24
# In the order of every array's last axis: in [-1, 1], and in [0, 1] (OMG) or
# [-1, 1] (Aff-Wild and Aff-Wild2).
TARGETS = ("valence", "arousal")
