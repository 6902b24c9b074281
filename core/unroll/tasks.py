"""The tasks: `invoke --list` in a checkout, `unroll --list` anywhere.

Each task is a thin wrapper that passes its options to a command in `unroll.commands`. Heavy modules are imported inside
the tasks, so that listings, help texts and usage errors appear at once.
"""

import sys
from typing import Any

from invoke.context import Context

from unroll.checkout_tasks import bench as bench
from unroll.checkout_tasks import docs as docs
from unroll.checkout_tasks import lint as lint
from unroll.checkout_tasks import test as test
from unroll.task_options import HELP, SEVERAL, Given, Inputs, Several, after_double_dash, helps, quoted, task


@task(
    positional=[],
    iterable=["set_"],
    help=helps("apps", "preset", "set", force="rebuild prepared data, for example to replace a damaged set"),
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
    help=helps(
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
    help=helps("app", "set", run=SEVERAL, split="split to evaluate on: train, val or test (default: test)"),
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
    help=helps(
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
        from unroll.commands import predict as command

        if score:
            return command.score(name, run or ["latest"], score, set_ or [])
        given = [*inputs.values(), *(prompt or []), *(history or []), *after_double_dash()]
        return command.predict(name, run or ["latest"], given, file, set_ or [])

    commands.run(command, as_json=json, debug=debug)


@task(
    positional=[], iterable=["by", "where"],
    help=helps(
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
    help=helps(
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

        words = quoted(["invoke", *sys.argv[sys.argv.index("results") :]])
        return results(names, preset, cells=cells, seeds=seeds, jobs=jobs, share=share, folder=Path(out), command=words)

    run(command, as_json=json, debug=debug)


@task(
    positional=[], iterable=["set_", "search"],
    help=helps(
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
        name = commands.checked(commands.one(app), preset, set_ or [])
        from unroll.commands.sweep import sweep

        return sweep(name, preset, set_ or [], search or [], trials=trials, study_name=study)

    commands.run(command, as_json=json, debug=debug)


@task(positional=[], help=helps("app", "run", alias="alias to assign in the model registry (default: champion)"))
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
    help=helps(
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
    help=helps(
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


@task(positional=[], help=helps())
def doctor(_: Context, json: bool = False, debug: bool = False) -> None:
    """Check this installation: torch, threads, gradients of every cell, fast paths, disk, data, tracking store.

    invoke doctor
    """
    from unroll.commands import run

    def command() -> dict[str, Any]:
        from unroll.commands.doctor import doctor

        return doctor()

    run(command, as_json=json, debug=debug)


@task(positional=[], help=helps())
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


@task(positional=[], help=helps(**NEW, kind="kind of application: classify, tag, generate, translate or recommend"))
def new_app(
    _: Context, name: Given = None, kind: Given = None, path: Given = None, json: bool = False, debug: bool = False,
) -> None:  # fmt: skip
    """Create a new, working application for you to adapt.

    invoke new-app --name weather --kind classify
    """
    from unroll.commands import required, run

    def command() -> dict[str, Any]:
        wanted = required(name=name, kind=kind)
        from unroll.commands.new import new_app

        return new_app(**wanted, path=path)

    run(command, as_json=json, debug=debug)


@task(positional=[], help=helps(**NEW))
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
