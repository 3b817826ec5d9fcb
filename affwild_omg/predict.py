"""Predicts valence and arousal for every frame of videos."""

from affwild_omg.cli import app
from affwild_omg.inference.options import PredictionOptions


@app.command(
    PredictionOptions,
    overwrite="the same videos' earlier results",
    interrupted="videos that were finished are kept, and --resume goes on",
)
def main(options: PredictionOptions, *, overwrite: bool) -> None:
    from affwild_omg.inference import sources

    # Its errors need not wait for TensorFlow.
    live = options.mode == "stream"
    sources.find(options.video, quiet=True, live=live)

    from affwild_omg.inference import video

    summaries = video.predict(options, overwrite=overwrite)
    for summary in summaries:
        app.show(
            f"{summary['video']}: {summary['frames_with_face']} of "
            f"{summary['frames']} frames show a face"
        )
        for part, times in summary.get("latency", {}).items():
            if times:
                app.show(
                    f"  {part}: p50 {times['p50_ms']:.1f} ms, "
                    f"p99 {times['p99_ms']:.1f} ms"
                )
    app.show(f"results in {options.output}")


if __name__ == "__main__":
    main()
