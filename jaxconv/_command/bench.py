"""`jaxconv bench`: what can be asked for, and the way from there to a report."""

import argparse
from pathlib import Path

from .._algorithms import ALGORITHMS
from .._bench.job import DIRECTIONS, DTYPES, Job
from .._bench.layer import LAYOUTS
from .._bench.results import Results, ResultsError, Row, checked, load, open_or_resume
from .._bench.suites import FIXED, SUITES, suite
from .command import Command, UsageError, amount, check_file, check_folder, positive, quantity, require, terminal

UNASKED = ("naive", "xla")  # slow, and the same as lax: only by name


def add_options(parser: argparse.ArgumentParser) -> None:
    """All that have several values can be given several times."""
    parser.add_argument("--suite", action="append", metavar="NAME", help=f"default core; {', '.join(SUITES)}")
    parser.add_argument("--batch", action="append", type=positive, metavar="N", help="default 8; core has its own")
    parser.add_argument("--layer", action="append", metavar="PART", help="only layers with this in their name")
    parser.add_argument("--direction", action="append", choices=DIRECTIONS, help="default all")
    parser.add_argument("--dtype", action="append", choices=DTYPES, help="default float32")
    parser.add_argument("--layout", action="append", choices=LAYOUTS, help="default NHWC")
    names = ", ".join(name for name in ALGORITHMS if name not in UNASKED)
    parser.add_argument("--algorithm", action="append", choices=ALGORITHMS, help=f"default {names}")
    parser.add_argument("--against", action="append", choices=("lax", "torch"), help="default both")
    parser.add_argument("--rounds", type=positive, default=3, help="turns of each backend (%(default)s)")
    parser.add_argument("--seconds", type=amount, default=0.3, help="in each turn (%(default)s)")
    limit = "most seconds for a first call (%(default)s), which stays the only one if it takes a quarter of that"
    parser.add_argument("--limit", type=amount, default=20.0, help=limit)
    parser.add_argument("--out", type=Path, default=Path("bench.json"), help="results, resumed (%(default)s)")
    parser.add_argument("--fresh", action="store_true", help="start the file of results anew")
    parser.add_argument("--report-only", action="store_true", help="measure nothing")
    parser.add_argument("--per-algorithm", action="store_true", help="report every backend, not only the best")
    parser.add_argument("--all-algorithms", action="store_true", help="let the best be one of larger error, too")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the report there")
    charts = "draw charts there, relative to the first --against"
    parser.add_argument("--charts", type=Path, metavar="FOLDER", help=charts)


def run(options: argparse.Namespace) -> int:
    """Measure and report. Returns 0, or 1 if a backend failed, or 130 if interrupted."""
    console = terminal()
    _check(options)
    try:
        if options.report_only:
            results = checked(load(options.out))
        elif (results := _measure(options, console)) is None:
            return 130
    except ResultsError as error:
        raise UsageError(str(error)) from None
    return _report(options, results, console)


def _measure(options: argparse.Namespace, console) -> Results | None:
    from .._bench.device import find, without_torch
    from .._bench.environment import environment
    from .._bench.run import Settings, measure_all

    try:
        device = find()
    except RuntimeError as error:
        raise UsageError(str(error)) from None
    if (lack := without_torch(device.platform)) and "torch" in (options.against or ()):
        raise UsageError(f"--against torch cannot be: {lack}")
    if lack and not options.against:
        console.print(f"PyTorch is left out: {lack}", markup=False)
    options.against = options.against or (["lax"] if lack else ["lax", "torch"])
    algorithms = options.algorithm or [name for name in ALGORITHMS if name not in UNASKED]
    chosen = jobs(options)
    if not chosen:
        raise UsageError(f"no layer has {' or '.join(map(repr, options.layer))} in its name; {_names(options)}")
    settings = Settings(options.rounds, options.seconds, options.limit)
    header = {"environment": environment(device), "settings": settings._asdict()}
    results = checked(open_or_resume(options.out, header, options.fresh))
    backends = list(dict.fromkeys([*options.against, *algorithms]))
    console.print(f"{quantity(len(chosen), 'job')}, {', '.join(backends)}; results in {options.out}", highlight=False)
    try:
        measure_all(chosen, backends, results, settings, console, device)
    except KeyboardInterrupt:
        console.print(f"Interrupted. {options.out} has what was measured: the same command goes on from there.")
        return None
    return results


def _report(options: argparse.Namespace, results: Results, console) -> int:
    from .._bench.figures import OTHERS, failures, with_xla
    from .._bench.report import show, write_markdown
    from .._bench.sheets import sheets

    rows = [row for row in results.rows.values() if selected(row, options)]
    if not rows:
        raise UsageError(f"nothing in {options.out} is what was asked for")
    if options.algorithm:
        shown = {*OTHERS, *options.algorithm}
        rows = [
            {**row, "backends": {name: row["backends"][name] for name in row["backends"] if name in shown}}
            for row in rows
        ]
    else:
        rows = [with_xla(row) for row in rows]
    measured = {name for row in rows for name in row["backends"]}
    against = [name for name in dict.fromkeys(options.against or OTHERS) if name in measured]
    made = sheets(rows, against, options.all_algorithms, options.per_algorithm)
    show(console, made)
    if options.markdown:
        write_markdown(options.markdown, results.header, made)
    if options.charts:
        from .._bench.charts import draw

        drawn = len(draw(options.charts, rows, against, options.all_algorithms))
        console.print(f"{quantity(drawn, 'chart')} in {options.charts}")
    return int(any(failures(row) for row in rows))


def jobs(options: argparse.Namespace) -> list[Job]:
    """What was asked for, with defaults for what was not said, which are left in `options`."""
    options.suite = options.suite or ["core"]
    options.batch = options.batch or [8]
    options.direction = options.direction or list(DIRECTIONS)
    options.dtype, options.layout = options.dtype or ["float32"], options.layout or ["NHWC"]
    found = [
        Job(name, batch, layer, suite(name, batch or 1)[layer], direction, dtype, layout)
        for name in options.suite
        for batch in ([None] if name in FIXED else options.batch)
        for dtype in options.dtype
        for layout in options.layout
        for layer in suite(name, batch or 1)
        for direction in options.direction
    ]
    return [job for job in dict.fromkeys(found) if selected(job.to_json(), options)]


def selected(row: Row, options: argparse.Namespace) -> bool:
    """Whether a row is among what the options name; one that was not given excludes nothing."""
    exact = all(
        row[name] in given
        for name in ("suite", "direction", "dtype", "layout")
        if (given := getattr(options, name)) is not None
    )
    batch = options.batch is None or row["batch"] is None or row["batch"] in options.batch
    return exact and batch and (not options.layer or any(part in row["name"] for part in options.layer))


def _check(options: argparse.Namespace) -> None:
    """UsageError for what could only go wrong after the measurement, too."""
    require(matplotlib=bool(options.charts))
    for name in options.suite or ():
        if name not in SUITES:
            raise UsageError(f"there is no suite {name!r}; there are {', '.join(SUITES)}")
    if not options.report_only:
        check_file("--out", options.out)
    if options.markdown:
        check_file("--markdown", options.markdown, in_place=True)
    if options.charts:
        check_folder("--charts", options.charts)


def _names(options: argparse.Namespace) -> str:
    return "; ".join(f"{name} has {', '.join(suite(name, 1))}" for name in options.suite)


COMMAND = Command(
    "every algorithm, lax and PyTorch on the layers of real networks", ("rich",), add_options, run, device=False
)
