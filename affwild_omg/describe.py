"""Describes a corpus: its counts, labels, gaps, and what preparation takes."""

from affwild_omg.cli import app
from affwild_omg.corpora.options import DescriptionOptions


@app.command(DescriptionOptions, overwrite="an earlier description")
def main(options: DescriptionOptions, *, overwrite: bool) -> None:
    from affwild_omg import figures
    from affwild_omg.corpora import description
    from affwild_omg.corpora.problems import Problems
    from affwild_omg.corpora.readers import READERS
    from affwild_omg.storage import files

    problems = Problems(strict=options.strict)
    clips = READERS[options.corpus](options.source, problems, options.frames)
    lines = description.lines(
        clips, options.corpus, options.frames, len(problems.lines)
    )
    with files.atomic_directory(
        options.output, flag="--output", overwrite=overwrite
    ) as folder:
        text = "\n".join([*lines, *problems.lines])
        files.write_text(folder / "description.txt", f"{text}\n")
        parts = description.by_split(clips)
        figures.label_planes(
            folder / "labels.png",
            {split: description.labels(part) for split, part in parts.items()},
        )
    app.show(*lines, f"description in {options.output}")


if __name__ == "__main__":
    main()
