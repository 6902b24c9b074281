"""What a type checker must accept in an application, and what it must reject. `mypy` reads this file; nothing runs it.

Each `type: ignore` is an error that mypy must find: if the contract allowed it, the comment would be unused, which
strict mypy rejects.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, assert_type

from torch import Tensor, nn

from unroll import app as apps
from unroll.app import App, Data, Report, Score, Step
from unroll.config import Config
from unroll.data.store import Store


class Batch(NamedTuple):
    values: Tensor


class Own(Config):
    """Settings of one application."""


class Network(nn.Module):
    def loss(self, values: Tensor) -> Tensor:
        return values.mean()


def prepare(config: Own, store: Store) -> None: ...


def data(config: Own, store: Store) -> Data[Batch]:
    raise NotImplementedError


def model(config: Own, facts: dict[str, Any]) -> Network:
    return Network()


def step(model: Network, batch: Batch, state: None = None) -> Step:
    return Step(model.loss(batch.values), size=1)


def evaluate(model: Network, batches: Iterable[Batch]) -> Report:
    raise NotImplementedError


def predict(model: Network, inputs: Sequence[str]) -> list[str]:
    raise NotImplementedError


APP: App[Own, Network, Batch] = App(
    about="functions typed with the application's own config, model and batch",
    presets={"default": Own()},
    prepare=prepare,
    data=data,
    model=model,
    step=step,
    evaluate=evaluate,
    predict=predict,
    score=Score("mse", "min"),
    examples=(),
)
assert_type(APP.config(), Own)
assert_type(APP.network(Own(), {}), Network)
assert_type(APP.with_score_for(Own()), App[Own, Network, Batch])

ANY: App = APP
"""where no application is named, as in the loop, any is meant"""
assert_type(apps.load("weather"), App[Any, Any, Any])


def step_of_another_model(model: nn.Linear, batch: Batch, state: None = None) -> Step:
    raise NotImplementedError


def step_of_other_batches(model: Network, batch: tuple[int, int], state: None = None) -> Step:
    raise NotImplementedError


def prepare_of_another_config(config: str, store: Store) -> None: ...


replace(APP, step=step_of_another_model)  # type: ignore[arg-type]
replace(APP, step=step_of_other_batches)  # type: ignore[arg-type]
replace(APP, prepare=prepare_of_another_config)  # type: ignore[arg-type]
