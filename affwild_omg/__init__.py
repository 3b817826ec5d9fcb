"""Continuous valence and arousal from face video.

A rebuild of the CNN-3RNN family of Kollias & Zafeiriou, "Exploiting
multi-CNN features in CNN-RNN based Dimensional Emotion Recognition on the
OMG in-the-wild Dataset" (IEEE Transactions on Affective Computing, 2020).
"""

__version__ = "0.1.0"
