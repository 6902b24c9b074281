"""Tasks that need a checkout: documentation, tests, benchmarks and lint. Elsewhere they exit with a one-line error."""

import os
import sys
from pathlib import Path
from typing import Any

from invoke.context import Context

from unroll.task_options import after_double_dash, helps, quoted, task


@task
def docs(c: Context) -> None:
    """Build the documentation into site/; neither building nor reading it needs a network."""
    with c.cd(_checkout("docs")):
        # The theme advertises its successor on every build.
        c.run("mkdocs build --strict --quiet", env={"NO_MKDOCS_2_WARNING": "1"}, pty=sys.stdout.isatty())
    print("open site/index.html")


@task(positional=[], help={"slow": "run the quality checks on real data instead", "k": "only tests whose name matches"})
def test(c: Context, slow: bool = False, k: str = "") -> None:
    """Run the tests; options after `--` are passed to pytest."""
    chosen = ["-m", "slow"] if slow else ["-n", str(os.cpu_count())]
    words = ["python", "-m", "pytest", *chosen, *(["-k", k] if k else []), *after_double_dash()]
    with c.cd(_checkout("test")):
        # One thread each: two test processes with two threads each would fight over two cores.
        c.run(quoted(words), env={} if slow else {"OMP_NUM_THREADS": "1"}, pty=sys.stdout.isatty())


@task(
    positional=[],
    help=helps(
        only="part to run: training, family, lengths, scan, inference or streaming; several as a,b,c (default: all)",
        quick="use tiny sizes, as a smoke test",
        threads="number of threads for every implementation (default: torch's own)",
        seconds="time budget of each case (default: 4)",
        clock="clock to measure with: wall, or processor (one thread, on a busy machine)",
        out="folder to write to (default: benchmarks/results)",
    ),
)  # fmt: skip
def bench(
    _: Context, only: str = "", quick: bool = False, threads: int = 0, seconds: float = 0.0, clock: str = "wall",
    out: str = "benchmarks/results", json: bool = False, debug: bool = False,
) -> None:  # fmt: skip
    """Benchmark recurrent networks against torch.nn, onnxruntime and NumPy; writes tables, raw numbers and a chart.

    invoke bench --only training,lengths --threads 2
    """
    from unroll.commands import run

    top = _checkout("bench")

    def command() -> dict[str, Any]:
        sys.path.insert(0, top)  # the benchmarks are part of the checkout, not of the package
        from benchmarks.recurrence import bench

        return bench(only, quick=quick, threads=threads, seconds=seconds, clock=clock, out=out)

    run(command, as_json=json, debug=debug)


@task(help={"audit": "also check the pinned versions for known vulnerabilities with pip-audit"})
def lint(c: Context, audit: bool = False) -> None:
    """Check style, types and import contracts, as continuous integration does."""
    top = _checkout("lint")
    with c.cd(top):
        for command in ("ruff check .", "ruff format --check .", "mypy", "lint-imports"):
            c.run(command, pty=sys.stdout.isatty(), echo=True)
    if audit:
        from unroll.commands import run
        from unroll.commands.audit import audit as ask

        run(lambda: ask(Path(top) / "constraints.txt"))


def _checkout(task: str) -> str:
    """The checkout that contains the current folder; exits with a one-line error if there is none."""
    from unroll.places import checkout, inside_checkout

    if root := inside_checkout():
        return str(root)
    own = checkout()
    where = f"run it in {own}" if own else "clone the repository and run it there"
    print(f"error: {task}: needs a checkout of Unroll, and this folder is not inside one; {where}", file=sys.stderr)
    sys.exit(1)
