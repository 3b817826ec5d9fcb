"""Predicts valence and arousal for every frame of a video."""

from absl import flags

from affwild_omg.cli import app, options
from affwild_omg.inference.options import PredictionOptions

options.define(PredictionOptions, overwrite="the video's earlier results")


def main():
    from affwild_omg.inference import video

    summary = video.predict(
        options.read(PredictionOptions), overwrite=flags.FLAGS.overwrite
    )
    app.show(
        f"{summary['frames_with_face']} of {summary['frames']} frames show a "
        f"face; results in {flags.FLAGS.output}"
    )


def run():
    app.run(main)


if __name__ == "__main__":
    run()
