"""docs/images/steps.png, and with it the section of docs/benchmarks.md that shows it."""

from pathlib import Path

from benchmarks import report, results, steps
from riffusion.diffusion import RiffusionPipeline
from scripts.media.maker import MediaMaker

ROOT = Path(__file__).parents[2]


def make_steps_plot(maker: MediaMaker) -> None:
    """Measure distances by number of steps, and draw the plot.

    In the repository, the rows are saved, too, and docs/benchmarks.md is written again, so that the
    table and the plot are of one measurement.
    """
    pipeline = maker.generator.pipeline
    assert isinstance(pipeline, RiffusionPipeline)
    rows = steps.measure(steps.NUM_PROMPTS, pipeline)
    maker.write(steps.plot(rows), steps.FIGURE.relative_to(ROOT).as_posix())
    if maker.root.resolve() == ROOT:
        results.save("steps", rows, steps.markdown(rows))
        maker.write(report.page().encode(), report.PAGE.relative_to(ROOT).as_posix())
