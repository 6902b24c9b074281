"""Power at the next reading of a sensor. Only this file and config.py know the configuration."""

from typing import Any

from unroll.app import App
from unroll.jsonl_app import Records, RecordsConfig

from . import data, train
from .config import PRESETS
from .model import Power

__all__ = ["APP"]

RECORDS = Records("power", data.example, data.FIELDS, data.facts, data.length, data.collate)


def model(config: RecordsConfig, facts: dict[str, Any]) -> Power:
    """The network for data with these facts, with fresh weights."""
    return Power(facts, **config.model.model_dump())


APP: App[RecordsConfig, Power, data.Batch] = App(
    about="power at the next reading of an irregular sensor",
    presets=PRESETS,
    prepare=RECORDS.prepare,
    data=RECORDS.batches,
    model=model,
    step=train.step,
    evaluate=train.evaluate,
    predict=train.predict,
    score=train.SCORE,
    examples=data.EXAMPLES,
    unit="readings",
    baselines=train.baselines,
)
