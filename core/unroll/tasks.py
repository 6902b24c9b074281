"""The tasks: `invoke --list` in a checkout, `unroll --list` anywhere.

Each task is a thin wrapper that passes its options to a command in `unroll.commands`. Heavy modules are imported inside
the tasks, so that listings, help texts and usage errors appear at once.
"""

import os
import sys
from pathlib import Path
from typing import Any

from invoke.context import Context
from invoke.parser.argument import Argument
from invoke.tasks import Task, task

Given = str | None
"""an option that defaults to None"""
Several = list[str] | None
"""an option that may be repeated"""

HELP = {
    "app": "name of the application; `invoke apps` lists them",
    "apps": "name of the application, several as a,b,c, or all",
    "preset": "named set of settings to start from (default: default)",
    "set": "override a setting: key=value, for example --set model.cell=gru; may be repeated",
    "run": "latest, an MLflow run id or a prefix of one, or models:/name@alias",
    "json": "print one line of JSON at the end, for programs",
    "debug": "show the traceback of an error",
}
SEVERAL = HELP["run"] + "; several form an ensemble, if the application supports it"


def _help(*names: str, **more: str) -> dict[str, str]:
    """Help texts, keyed by parameter name as invoke expects them."""
    several = {"app": HELP["apps"]} if "apps" in names else {}
    return {**{name: HELP[name] for name in (*names, "json", "debug") if name != "apps"}, **several, **more}


class Inputs(Task[Any]):
    """A task that takes any number of arguments after its options: FILE ... without a `--` before them.

    Invoke supports a fixed number of positional arguments; this task declares as many as the command line has.
    """

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        """The declared options, and one positional argument for each word that is neither an option nor its value."""
        options = [option for option in super().get_arguments(ignore_unknown_help) if option.name != "inputs"]
        takes_value = {flag for option in options if option.takes_value for flag in _flags(option)}
        count, words = 0, sys.argv[sys.argv.index(self.name) + 1 :] if self.name in sys.argv else []
        while words:
            word = words.pop(0)
            if word in takes_value:
                words = words[1:]
            elif word == "--":
                break
            elif not word.startswith("-"):
                count += 1
        return [Argument(name=f"input{i}", positional=True) for i in range(count)] + options


def _flags(option: Argument) -> list[str]:
    return [("-" if len(name) == 1 else "--") + name.strip("_").replace("_", "-") for name in option.names]


@task(
    positional=[],
    iterable=["set_"],
    help=_help("apps", "preset", "set", force="rebuild prepared data, for example to replace a damaged set"),
)
def prepare(
    _: Context, app: Given = None, preset: Given = None, set_: Several = None, force: bool = False,
    json: bool = False, debug: bool = False,
) -> None:  # fmt: skip
    """Download, verify and prepare an application's data; does nothing if that is already done.

    invoke prepare --app speech --set data.source=fsdd
    """
    from unroll.commands import chosen, run

    def command() -> dict[str, Any]:
        from unroll.commands.prepare import prepare

        return prepare(chosen(app), preset, set_ or [], force)

    run(command, as_json=json, debug=debug)


@task(
    positional=[], iterable=["set_"],
    help=_help(
        "apps", "preset", set=f"{HELP['set']}; several values, key=a,b,c, form a grid",
        resume="resume an interrupted run: latest, or a run id",
        seeds="number of seeds to train with, counting up from train.seed",
        jobs="number of grid runs to train in parallel (default: 1)",
    ),
)  # fmt: skip
def train(
    _: Context, app: Given = None, preset: Given = None, set_: Several = None, resume: Given = None, seeds: int = 0,
    jobs: int = 1, json: bool = False, debug: bool = False,
) -> None:  # fmt: skip
    """Prepare the data, train, evaluate on the test split, and track the run in MLflow.

    invoke train --app speech
    invoke train --app speech --set model.cell=gru --set train.epochs=5
    invoke train --app speech --resume latest
    invoke train --app speech,image --set model.cell=elman,lstm,gru --seeds 5 --jobs 2
    """
    from unroll.commands import chosen, run

    def command() -> dict[str, Any]:
        names = chosen(app)
        from unroll.commands.train import train

        return train(names, preset, set_ or [], resume, seeds=seeds, jobs=jobs)

    run(command, as_json=json, debug=debug)


@task(
    positional=[], iterable=["set_", "run"],
    help=_help("app", "set", run=SEVERAL, split="split to evaluate on: train, val or test (default: test)"),
)  # fmt: skip
def evaluate(
    _: Context, app: Given = None, run: Several = None, split: str = "test", set_: Several = None, json: bool = False,
    debug: bool = False,
) -> None:  # fmt: skip
    """Evaluate a trained model again, optionally with other decoding settings.

    invoke evaluate --app speech --run latest --set decode.beam=16
    """
    from unroll import commands

    def command() -> dict[str, Any]:
        name = commands.one(app)
        from unroll.commands.evaluate import evaluate

        return evaluate(name, run or ["latest"], split, set_ or [])

    commands.run(command, as_json=json, debug=debug)


@task(
    klass=Inputs,
    positional=[],
    iterable=["set_", "run", "prompt", "history"],
    help=_help(
        "app", "set", run=SEVERAL, file="file to read inputs from; -: standard input", prompt="text to continue",
        history="items already seen: 50,181,258", score="file to score token by token; writes a table and plots",
    ),
)  # fmt: skip
def predict(
    _: Context, app: Given = None, run: Several = None, set_: Several = None, file: Given = None,
    prompt: Several = None, history: Several = None, score: Given = None, json: bool = False, debug: bool = False,
    **inputs: str,
) -> None:  # fmt: skip
    """Run a trained model on your inputs, or on the application's examples if there are none.

    invoke predict --app speech --run latest FILE.wav ...
    invoke predict --app language --prompt "Once upon" --set generate.temperature=0.7
    invoke predict --app language --score FILE.txt
    invoke predict --app recommend --history 50,181,258
    invoke predict --app translation --run RUN --run RUN --file - < FILE.txt
    """
    from unroll import commands

    def command() -> dict[str, Any]:
        name = commands.one(app)
        from unroll.commands import evaluate as command

        if score:
            return command.score(name, run or ["latest"], score, set_ or [])
        given = [*inputs.values(), *(prompt or []), *(history or []), *_after_double_dash()]
        return command.predict(name, run or ["latest"], given, file, set_ or [])

    commands.run(command, as_json=json, debug=debug)


@task(
    positional=[], iterable=["by", "where"],
    help=_help(
        "apps", metric="metric to compare, as split/metric (default: the score on the test split)",
        by="settings to group runs by, several as a,b (default: all that differ)",
        baseline="group to compare the others with, by its value (default: the default preset's)",
        where="only runs with this key=value; may be repeated",
        equal="compare at equal cost: parameters or seconds",
        confounded="compare even if the groups also differ in epochs, minutes or precision",
        csv="print comma-separated values", html="also write an HTML page with charts, and log it to MLflow",
    ),
)  # fmt: skip
def compare(
    _: Context, app: Given = None, metric: Given = None, by: Several = None, baseline: Given = None,
    where: Several = None, equal: Given = None, csv: bool = False, html: bool = False, confounded: bool = False,
    json: bool = False, debug: bool = False,
) -> None:  # fmt: skip
    """Compare runs: means over seeds, differences with confidence intervals and tests, and costs.

    invoke compare --app speech --by model.cell --baseline elman
    invoke compare --app all --by model.cell --html
    """
    from unroll.commands import chosen, run

    def command() -> dict[str, Any]:
        names = chosen(app)
        from unroll.commands.compare import compare
        from unroll.comparison.question import Question

        keys = tuple(key.strip() for keys in by or [] for key in keys.split(","))
        return compare(
            names, Question(metric, keys, baseline, tuple(where or []), equal, confounded), as_csv=csv, html=html
        )

    run(command, as_json=json, debug=debug)


@task(
    positional=[],
    help=_help(
        "apps", "preset", cells="cells to train, as a,b,c; the first is the baseline",
        seeds="number of seeds per cell", jobs="number of runs to train in parallel",
        out="folder to write to (default: docs)",
        share="fraction of each preset's epochs to train for, for example 0.4 (default: all)",
    ),
)  # fmt: skip
def results(
    _: Context, app: str = "all", preset: Given = None, cells: str = "elman,lstm,gru,mingru", seeds: int = 3,
    jobs: int = 1, share: float = 1.0, out: str = "docs", json: bool = False, debug: bool = False,
) -> None:  # fmt: skip
    """Train the same cells in every application and write docs/results.md; finished runs are skipped.

    invoke results --jobs 2
    """
    from unroll.commands import chosen, run

    def command() -> dict[str, Any]:
        names = chosen(app)
        from pathlib import Path

        from unroll.commands.results import results

        words = _quoted(["invoke", *sys.argv[sys.argv.index("results") :]])
        return results(names, preset, cells=cells, seeds=seeds, jobs=jobs, share=share, folder=Path(out), command=words)

    run(command, as_json=json, debug=debug)


@task(
    positional=[], iterable=["set_", "search"],
    help=_help(
        "app", "preset", "set",
        search="setting to search: key=low..high, key=low..high:log or key=a,b,c; may be repeated",
        trials="total number of trials in the study (default: 20)",
        study="name of the study, which is resumed if it exists",
    ),
)  # fmt: skip
def sweep(
    _: Context, app: Given = None, preset: Given = None, set_: Several = None, search: Several = None,
    trials: int = 20, study: str = "sweep", json: bool = False, debug: bool = False,
) -> None:  # fmt: skip
    """Search settings for the best validation score with Optuna; unpromising trials are pruned.

    invoke sweep --app speech --search optimizer.lr=1e-4..1e-2:log --search model.hidden=64..256 --trials 20
    """
    from unroll import commands

    def command() -> dict[str, Any]:
        name = commands.one(app)
        from unroll.commands.sweep import sweep

        return sweep(name, preset, set_ or [], search or [], trials=trials, study_name=study)

    commands.run(command, as_json=json, debug=debug)


@task(positional=[], help=_help("app", "run", alias="alias to assign in the model registry (default: champion)"))
def promote(
    _: Context, app: Given = None, run: str = "latest", alias: str = "champion", json: bool = False,
    debug: bool = False,
) -> None:  # fmt: skip
    """Register a run's model, re-evaluate it from the registry, and make it the champion if the score is reproduced.

    invoke promote --app speech --run latest
    """
    from unroll import commands

    def command() -> dict[str, Any]:
        name = commands.one(app)
        from unroll.commands.promote import promote

        return promote(name, run, alias)

    commands.run(command, as_json=json, debug=debug)


@task(
    positional=[], iterable=["set_"],
    help=_help(
        "app", "run", "preset", "set", fix="try the top remedies and report the effect of each",
        steps="training steps per trial", seeds="number of seeds per trial",
        replay="saved batch of a skipped step to examine",
    ),
)  # fmt: skip
def diagnose(
    _: Context, app: Given = None, run: Given = None, preset: Given = None, set_: Several = None, fix: bool = False,
    steps: int = 200, seeds: int = 5, replay: Given = None, json: bool = False, debug: bool = False,
) -> None:  # fmt: skip
    """Measure the gradient through time of a trained or untrained model: verdict, remedies, and an illustrated report.

    invoke diagnose --app speech
    invoke diagnose --app speech --run latest --fix
    """
    from unroll import commands

    def command() -> dict[str, Any]:
        name = commands.one(app)
        from unroll.commands.diagnose import diagnose

        return diagnose(name, run, preset, set_ or [], fix=fix, steps=steps, seeds=seeds, replay=replay)

    commands.run(command, as_json=json, debug=debug)


@task(
    positional=[], auto_shortflags=False,  # -h is the help
    help=_help(
        cell="cells as a,b,c, or all", task="copy, adding, parity, flip-flop as a,b,c, or all",
        steps="training steps at each lag", hidden="units of each cell", longest="longest lag",
    ),
)  # fmt: skip
def memory(
    _: Context, cell: str = "all", task: str = "all", steps: int = 300, hidden: int = 32, longest: int = 128,
    json: bool = False, debug: bool = False,
) -> None:  # fmt: skip
    """Measure how far back each recurrent cell learns to carry information, on tasks of known lags.

    invoke memory --cell elman,lstm,gru
    """
    from unroll.commands import run

    def command() -> dict[str, Any]:
        from unroll.commands.memory import memory

        return memory(cell, task, steps=steps, hidden=hidden, longest=longest)

    run(command, as_json=json, debug=debug)


@task(positional=[], help=_help())
def doctor(_: Context, json: bool = False, debug: bool = False) -> None:
    """Check this installation: torch, threads, gradients of every cell, fast paths, disk, data, tracking store.

    invoke doctor
    """
    from unroll.commands import run

    def command() -> dict[str, Any]:
        from unroll.commands.doctor import doctor

        return doctor()

    run(command, as_json=json, debug=debug)


@task(positional=[], help=_help())
def apps(_: Context, json: bool = False, debug: bool = False) -> None:
    """List the applications with their data sources and presets, and the cells."""
    from unroll.commands import run

    def command() -> dict[str, Any]:
        from unroll.commands.new import listing

        return listing()

    run(command, as_json=json, debug=debug)


NEW = {
    "name": "name in lower-case letters, digits and underscores",
    "path": "folder for a separate package, to be installed with pip (default: write into this checkout)",
}


@task(positional=[], help=_help(**NEW, kind="kind of application: classify, tag, generate, translate or recommend"))
def new_app(
    _: Context, name: Given = None, kind: Given = None, path: Given = None, json: bool = False, debug: bool = False,
) -> None:  # fmt: skip
    """Create a new application that works as written, for you to adapt.

    invoke new-app --name weather --kind classify
    """
    from unroll.commands import required, run

    def command() -> dict[str, Any]:
        wanted = required(name=name, kind=kind)
        from unroll.commands.new import new_app

        return new_app(**wanted, path=path)

    run(command, as_json=json, debug=debug)


@task(positional=[], help=_help(**NEW))
def new_cell(_: Context, name: Given = None, path: Given = None, json: bool = False, debug: bool = False) -> None:
    """Create a new recurrent cell, about twenty lines of equations, which every application can use by name.

    invoke new-cell --name leaky
    """
    from unroll.commands import required, run

    def command() -> dict[str, Any]:
        wanted = required(name=name)
        from unroll.commands.new import new_cell

        return new_cell(**wanted, path=path)

    run(command, as_json=json, debug=debug)


@task(positional=[], help={"port": "port to listen on, on the loopback address only (default: 5000)"})
def ui(_: Context, port: int = 5000) -> None:
    """Serve MLflow's web interface on the loopback address only; stop it with Ctrl-C."""
    from unroll.commands import run

    def command() -> dict[str, Any]:
        from unroll.commands.ui import ui

        ui(int(port))

    run(command)


@task
def docs(c: Context) -> None:
    """Build the documentation into site/; neither building nor reading it needs a network."""
    with c.cd(_checkout("docs")):
        # The theme announces its successor on every build.
        c.run("mkdocs build --strict --quiet", env={"NO_MKDOCS_2_WARNING": "1"}, pty=sys.stdout.isatty())
    print("open site/index.html")


@task(positional=[], help={"slow": "run the quality checks on real data instead", "k": "only tests whose name matches"})
def test(c: Context, slow: bool = False, k: str = "") -> None:
    """Run the tests; options after `--` are passed to pytest."""
    chosen = ["-m", "slow"] if slow else ["-n", str(os.cpu_count())]
    words = ["python", "-m", "pytest", *chosen, *(["-k", k] if k else []), *_after_double_dash()]
    with c.cd(_checkout("test")):
        # One thread each: two test processes with two threads each would fight over two cores.
        c.run(_quoted(words), env={} if slow else {"OMP_NUM_THREADS": "1"}, pty=sys.stdout.isatty())


@task(
    positional=[],
    help=_help(
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
        sys.path.insert(0, top)  # the benchmarks are part of the checkout, and not of the package
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


def _after_double_dash() -> list[str]:
    return sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []


def _quoted(words: list[str]) -> str:
    import shlex

    return shlex.join(words)
