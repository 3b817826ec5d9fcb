"""Predicts valence and arousal for every frame of a video."""

from affwild_omg.cli import app
from affwild_omg.inference.options import PredictionOptions


@app.command(PredictionOptions, overwrite="the video's earlier results")
def main(options: PredictionOptions, *, overwrite: bool) -> None:
    from affwild_omg.inference import video

    summary = video.predict(options, overwrite=overwrite)
    app.show(
        f"{summary['frames_with_face']} of {summary['frames']} frames show a "
        f"face; results in {options.output}"
    )


if __name__ == "__main__":
    main()
