"""What every application computes, against numbers that were written down: whatever should change none changes none.

For some models of each application, on little of its built-in data: the digest of the data, the losses and gradients of
the first steps, the metrics after them, what is predicted then, and the baselines. They stand in
`NAME/reference_values.json`; a key there is the settings of a model. Whoever means to change a number (and has raised
the VERSION of the data, where the digest is another one) writes them anew and reads the difference:

    python -m tests.apps.test_reference_values NAME...
"""

import json
import math
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric import seed_everything
from torch import nn

from unroll import app as apps
from unroll.data.store import Store
from unroll.recurrence.state import detach
from unroll.training.evaluation import evaluate
from unroll.training.optimizer import optimizer

HERE = Path(__file__).parent
CONSTRAINTS = HERE.parents[1] / "constraints.txt"
FILES = {path.parent.name: path for path in sorted(HERE.glob("*/reference_values.json"))}
CASES = [(name, settings) for name, path in FILES.items() for settings in json.loads(path.read_text())["models"]]
DECIDING = ("babel", "espeakng-loader", "numpy", "pillow", "scikit-learn", "scipy", "tokenizers", "torch")
"""packages of which another version may draw, write or round in another way"""
STEPS, BATCHES, EXAMPLES = 3, 2, 2
TOPICS = {
    f"topic {n}": "\n\n".join(f"The A class {n} {k}: " + "ab cd efg. " * (n + k) for k in range(4)) for n in range(40)
}
"""in place of Python's own, which every version of Python has others of"""


def computed(name: str, settings: str, store: Store) -> dict[str, Any]:
    """The numbers of a model; the current folder is one to write into."""
    app = apps.load(name)
    config = app.config("smoke", [*_base(name).split(), *settings.split(), "train.device=cpu"])
    app = app.with_score_for(config)
    app.prepare(config, store)
    data = app.data(config, store)
    seed_everything(1, verbose=False)
    model = app.network(config, data.facts).train()
    steps = list(_trained(app, config, data, model))
    report = evaluate(app, model, islice(data.val, BATCHES))
    with torch.inference_mode():
        outputs = app.outputs(model.eval(), list(app.examples[:EXAMPLES]))
    found = {"data": data.digest, "steps": steps, "metrics": report.metrics, "outputs": outputs}
    if app.baselines and not settings:
        found["baselines"] = app.baselines(config, data)
    # An example is named by its path, which is another one in another checkout.
    return json.loads(json.dumps(found).replace(f"{HERE.parents[1]}/", ""))


def _base(name: str) -> str:
    return str(json.loads(FILES[name].read_text())["all"])


def _trained(app: Any, config: Any, data: Any, model: nn.Module) -> Iterator[list[float]]:
    """The loss, its size and the gradient's norm of each step: some of the first epoch, and one of the second."""
    chosen, state = optimizer(config.optimizer, model), None
    for batch in _batches(data.train):
        step = app.step(model, batch, state)
        chosen.zero_grad()
        step.loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.clip or math.inf)
        chosen.step()
        state = detach(step.state)
        yield [step.loss.item(), step.size, norm.item()]


def _batches(loader: Any) -> Iterator[Any]:
    for epoch, many in enumerate((STEPS, 1)):
        if hasattr(loader.batch_sampler, "set_epoch"):
            loader.batch_sampler.set_epoch(epoch)
        yield from islice(loader, many)


def as_pinned() -> bool:
    """Whether these are the packages of constraints.txt: of others nobody promises the same random numbers."""
    lines = (line.partition("==") for line in CONSTRAINTS.read_text().splitlines())
    pinned = {package: wanted.split()[0] for package, equals, wanted in lines if equals and package in DECIDING}
    assert pinned.keys() == set(DECIDING), "constraints.txt pins them all"
    return platform.machine() == "x86_64" and all(version(one).split("+")[0] == pinned[one] for one in DECIDING)


def near(wanted: Any, got: Any, place: str = "") -> Iterator[str]:
    """Where two trees of plain values are not the same, numbers to rounding."""
    if isinstance(wanted, dict) and isinstance(got, dict) and wanted.keys() == got.keys():
        for key, value in wanted.items():
            yield from near(value, got[key], f"{place}.{key}")
    elif isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        for number, value in enumerate(wanted):
            yield from near(value, got[number], f"{place}[{number}]")
    elif isinstance(wanted, float) and isinstance(got, int | float):
        if not math.isclose(wanted, got, rel_tol=5e-4, abs_tol=1e-5):
            yield f"{place}: {got}, not {wanted}"
    elif wanted != got:
        yield f"{place}: {got!r}, not {wanted!r}"


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("reference"))


@pytest.mark.skipif(not as_pinned(), reason="other packages than those of constraints.txt, or another processor")
@pytest.mark.parametrize(("name", "settings"), CASES, ids=[f"{name}-{settings or 'smoke'}" for name, settings in CASES])
def test_the_numbers_are_those_written_down(
    name: str, settings: str, stores: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pydoc_data.topics.topics", TOPICS)
    wanted = json.loads(FILES[name].read_text())["models"][settings]
    differences = list(near(wanted, computed(name, settings, stores)))
    assert not differences, f"see the head of {Path(__file__).name} where this is meant:\n" + "\n".join(differences)


@pytest.mark.parametrize(
    ("wanted", "got"),
    [(1.0, 1.01), (1.0, float("nan")), ([1.0], [1.0, 1.0]), ({"a": 1.0}, {"b": 1.0}), ("a", "b"), (1, 2), ([1], 1)],
)
def test_other_numbers_are_noticed(wanted: Any, got: Any) -> None:
    assert list(near({"x": [wanted]}, {"x": [got]}))
    assert not list(near({"x": [wanted]}, {"x": [wanted]}))


def _write(name: str, folder: Path) -> None:
    kept: Mapping[str, Any] = json.loads(FILES[name].read_text())
    models = {settings: computed(name, settings, Store(folder / "data")) for settings in kept["models"]}
    lines = [f'"all": {json.dumps(kept["all"])},', '"models": {']
    for settings, found in models.items():
        lines.append(f"  {json.dumps(settings)}: {{")
        lines += [
            f"    {json.dumps(what)}: {json.dumps(numbers, ensure_ascii=False)}," for what, numbers in found.items()
        ]
        lines[-1] = lines[-1].removesuffix(",")
        lines.append("  },")
    lines[-1] = "  }"
    FILES[name].write_text("\n".join(["{", *lines, "}", "}"]) + "\n")


if __name__ == "__main__":
    assert as_pinned(), "these are not the packages of constraints.txt"
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        os.chdir(folder)
        patch.setattr("pydoc_data.topics.topics", TOPICS)
        for name in sys.argv[1:] or list(FILES):
            _write(name, Path(folder))
