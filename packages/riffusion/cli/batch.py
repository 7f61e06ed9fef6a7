"""`riffusion batch`: the jobs of a file, one after the other, with one loaded checkpoint."""

import io
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from riffusion.cli import options
from riffusion.cli.clip_maker import keep_loaded
from riffusion.cli.error_lines import EXIT_DEFECT, line_and_status
from riffusion.cli.folder_batch import raise_failures
from riffusion.cli.job_arguments import (
    arguments_of,
    derived_seed,
    job_key,
    needs_seed,
    numbers_of_files,
    output_name,
    parameters_by_name,
)
from riffusion.cli.jobs_file import Job, read_jobs
from riffusion.cli.outputs import check_output_dir, checked_extension, path_with_seed
from riffusion.errors import InputError, RiffusionError

if TYPE_CHECKING:
    from typer._click.core import Command

COMMANDS = (
    "generate",
    "interpolate",
    "jam",
    "restyle",
    "repaint",
    "extend",
    "between",
    "vary",
    "difference",
    "follow",
    "loop",
    "retime",
    "stems",
    "remix",
    "unconditional",
)
"""Commands that a job can name."""
ALSO_WRITTEN = {"image", "images", "images_dir", "clips_dir"}
"""Options that name further files, which are written into the batch's folder, too."""
REPORT_NAME = "report.jsonl"


@dataclass(frozen=True)
class _ReadyJob:
    """A job with everything that running it takes.

    Args:
        where: its place in the file.
        command: its command.
        values: its arguments and options, the seed included.
        key: the same for the same job.
        output: the file or folder that it writes, relative to the batch's folder.
    """

    where: str
    command: "Command"
    values: dict[str, Any]
    key: str
    output: Path


def batch(
    context: typer.Context,
    jobs: Annotated[
        Path,
        typer.Argument(
            help="Jobs: a .jsonl or .csv file with one per line, or a .yaml or .json file.",
            show_default=False,
        ),
    ],
    *,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder for the results; created if it is missing."),
    ],
    extension: Annotated[
        str | None,
        typer.Option(
            help="Format of the results: wav, flac, mp3, ogg or m4a; default: that of an edited "
            "recording, else mp3.",
            show_default=False,
        ),
    ] = None,
    engine: options.EngineOption = None,
) -> None:
    """Run many jobs: one command with its arguments and options each, by their names.

    A job without `command` is `generate`. Results are named after their texts and seeds, or by
    `output`. --engine is for all jobs that draw and name no `engine`. A job that fails doesn't stop
    the others. Run again, the batch continues: what is done, by report.jsonl in the folder, is left
    out.
    """
    suffix = None if extension is None else checked_extension(extension)
    found = read_jobs(jobs)
    check_output_dir(output)
    report = output / REPORT_NAME
    done = _done(report)
    failures: dict[str, Exception] = {}
    ready = list(_prepare(found, context, suffix, engine, done, failures))
    todo = [job for job in ready if not _is_done(job, done, output)]
    if len(todo) < len(ready):
        print(f"done        {_jobs(len(ready) - len(todo))}, by {report}")
    started = time.perf_counter()
    with keep_loaded():
        for number, job in enumerate(todo, start=1):
            print(f"[{number}/{len(todo)}] {job.command.name} → {output / job.output}")
            try:
                seconds = _run(job, output)
            except Exception as error:
                failures[job.where] = _in_words(error, job.command)
                print(f"failed      {job.where}")
                continue
            _append(report, job, seconds)
            print(f"            {seconds:.2f} s")
    num_written = sum(job.where not in failures for job in todo)
    seconds = time.perf_counter() - started
    print(f"Wrote the results of {_jobs(num_written)} in {seconds:.2f} s")
    in_order = {job.where: failures[job.where] for job in found if job.where in failures}
    raise_failures(in_order, len(found), "jobs")


def _jobs(count: int) -> str:
    return f"{count} job" if count == 1 else f"{count} jobs"


def _prepare(
    jobs: list[Job],
    context: typer.Context,
    extension: str | None,
    engine: str | None,
    done: dict[str, str],
    failures: dict[str, Exception],
) -> Iterator[_ReadyJob]:
    """Jobs with commands, seeds and names of outputs; what is wrong goes to `failures`."""
    group: Any = context.find_root().command
    seen: Counter[str] = Counter()
    taken = {REPORT_NAME: "", **{name: key for key, name in done.items()}}
    for job in jobs:
        try:
            if job.error is not None:
                raise job.error
            values = dict(job.values)
            name = str(values.pop("command", "generate"))
            command = group.get_command(context, name) if name in COMMANDS else None
            if command is None:
                raise InputError(f"command={name!r} must be one of {', '.join(COMMANDS)}")
            wanted, suffix = values.pop("output", None), extension
            if "extension" in values:
                suffix = checked_extension(str(values["extension"]))
            base = {"command": name, "output": wanted, **values}
            occurrence = seen[job_key(base)]
            seen[job_key(base)] += 1
            if needs_seed(command, values):
                values.setdefault("seed", derived_seed(base, occurrence))
            if "extension" not in parameters_by_name(command):
                values.pop("extension", None)
            elif suffix is not None:
                values["extension"] = suffix
            key = job_key({**base, **values, "occurrence": occurrence})
            if engine is not None and "engine" in parameters_by_name(command):
                values.setdefault("engine", engine)  # both make the same music: not in the key
            arguments_of(command, values)
            numbers = numbers_of_files(command, values)
            for option in sorted(ALSO_WRITTEN & values.keys()):
                further = _checked(values[option], option)
                values[option] = str(_free_name(further, numbers, key, taken))
            path = _checked(wanted, "output") if wanted else output_name(command, values, suffix)
            path = _free_name(path, numbers, key, taken)
        except InputError as error:
            failures[job.where] = RiffusionError(str(error))
            continue
        yield _ReadyJob(job.where, command, values, key, path)


def _checked(name: Any, option: str) -> Path:
    """The name that a job wants for a file that it writes.

    Raises:
        InputError: it is outside of the batch's folder.
    """
    path = Path(str(name))
    if path.is_absolute() or ".." in path.parts:
        raise InputError(f"{option}={str(name)!r} must be a name inside the batch's folder")
    return path


def _free_name(path: Path, numbers: Sequence[int], key: str, taken: dict[str, str]) -> Path:
    """`path`, or `name-2` and so on if another job writes a file of that name.

    Args:
        path: file or folder of a job.
        numbers: numbers in the names of its files; empty if it writes `path` itself.
        key: the job's key.
        taken: keys of jobs by the names of their files; this job's are added.
    """
    found, number = path, 1
    while True:
        files = {str(found), *(str(path_with_seed(found, each)) for each in numbers)}
        if all(taken.get(name, key) == key for name in files):
            taken |= dict.fromkeys(files, key)
            return found
        number += 1
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")


def _run(job: _ReadyJob, directory: Path) -> float:
    """Run a job's command; what it prints is left out. Returns the seconds that it took."""
    started = time.perf_counter()
    files = {name: str(directory / job.values[name]) for name in ALSO_WRITTEN & job.values.keys()}
    values = {**job.values, **files}
    arguments = [f"--output={directory / job.output}", *arguments_of(job.command, values)]
    with redirect_stdout(io.StringIO()):
        job.command.main(
            arguments, prog_name=f"riffusion {job.command.name}", standalone_mode=False
        )
    return time.perf_counter() - started


def _in_words(error: Exception, command: "Command") -> Exception:
    """What a job failed with, in the words of its own command's options."""
    line, status = line_and_status(error, command)
    return error if status == EXIT_DEFECT else RiffusionError(line)


def _done(report: Path) -> dict[str, str]:
    """The outputs of finished jobs by key. A last line that was cut off is left out."""
    done = {}
    text = report.read_text("utf-8", errors="replace") if report.is_file() else ""
    for line in text.split("\n"):
        try:
            entry = json.loads(line)
            done[str(entry["key"])] = str(entry["output"])
        except (ValueError, KeyError, TypeError):
            continue
    return done


def _is_done(job: _ReadyJob, done: dict[str, str], directory: Path) -> bool:
    """Whether a job is in the report, and its files are still there."""
    path = directory / job.output
    if done.get(job.key) != str(job.output):
        return False
    numbers = numbers_of_files(job.command, job.values)
    return path.exists() or any(path_with_seed(path, number).exists() for number in numbers)


def _append(report: Path, job: _ReadyJob, seconds: float) -> None:
    entry = {
        "where": job.where,
        "command": job.command.name,
        "output": str(job.output),
        "seconds": round(seconds, 3),
        "values": job.values,
        "key": job.key,
    }
    line = json.dumps(entry, ensure_ascii=False, default=str).encode() + b"\n"
    with report.open("ab+") as file:
        if file.tell() > 0:
            file.seek(-1, io.SEEK_END)
            if file.read(1) != b"\n":  # the batch was killed while it wrote a line
                line = b"\n" + line
        file.write(line)
