"""Predicts valence and arousal for every frame of a video."""

from absl import flags

from affwild_omg.cli import app

flags.DEFINE_string(
    "model", None, "SavedModel, workdir or .keras file.", required=True
)
flags.DEFINE_string("video", None, "Video file.", required=True)
flags.DEFINE_string(
    "output",
    None,
    "Folder for <stem>.csv, a row a frame, and <stem>.png.",
    required=True,
)
flags.DEFINE_integer(
    "sequence_length", 0, "Frames of a window; 0 takes the model's own."
)
flags.DEFINE_integer(
    "detect_every",
    24,
    "Frames from one face detection to the next; landmarks are tracked in "
    "between.",
)
app.define_overwrite("the video's earlier results")


def main():
    from affwild_omg.inference import video

    summary = video.predict(
        app.options(video.Options), overwrite=flags.FLAGS.overwrite
    )
    app.show(
        f"{summary['frames_with_face']} of {summary['frames']} frames show a "
        f"face; results in {flags.FLAGS.output}"
    )


if __name__ == "__main__":
    app.run(main)
