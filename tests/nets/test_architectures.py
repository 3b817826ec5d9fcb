import dataclasses

import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.nets import architectures
from affwild_omg.nets.architectures import Architecture


def test_vgg_vocabulary_counts_as_the_paper_does():
    assert len(architectures.VGG_CONVS) == 13
    assert len(architectures.VGG_POOLS) == 5
    # "2nd pool (following the fourth convolutional layer)", "8th conv".
    assert architectures.VGG_CONVS[3] == "conv2_2"
    assert architectures.VGG_CONVS[7] == "conv4_1"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("backbone", "vgg", "backbone must be one of vgg_face"),
        ("taps", (), "taps is empty"),
        ("taps", ("pool6",), "taps must be one of .*not 'pool6'"),
        ("backbone", "resnet50", "pool.*with backbone resnet50, not 'pool2'"),
        ("landmark_units", -1, "landmark_units must be 0 or more"),
        ("taps", ("fc", "fc"), "twice"),
        ("targets", ("joy",), "targets must be one of valence, arousal"),
        ("recurrence", "lstm", "recurrence must be one of"),
        ("gru", "fast", "gru must be one of"),
        ("units", 0, "units must be 1 or more, not 0"),
        ("fc_dropout", 1.0, r"fc_dropout must be in \[0, 1\)"),
        ("width", 0.0, r"width must be in \(0, 1\]"),
    ],
)
def test_bad_fields_are_named(field, value, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(Architecture(), **{field: value})
