"""Typed, frozen configurations: presets, `key=value` overrides, and the same words in every application.

An application subclasses the four sections, adds its own fields (each with a one-line docstring, which is its help
text) and collects them in one `Config`. The keys declared here mean the same everywhere.
"""

import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Self, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from unroll.errors import Notice, UserError, did_you_mean
from unroll.reads import Conditions, Only, Reads, by_source, check_path, refuse_unread, source_of


class Section(BaseModel):
    """A group of settings: immutable, and closed to keys that it does not declare."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False, validate_default=True
    )


class DataConfig(Section):
    """Where the examples come from."""

    sources: ClassVar[Mapping[str, Reads]] = {}
    """by the value of `source`: what it reads"""

    source: str = "builtin"
    """name of the data set; "builtin" needs no download"""
    path: Path | None = None
    """the user's own files, for the sources that read them"""

    @property
    def named(self) -> str:
        """What a message calls the data, by what the user has set."""
        return f"data.source={self.source}" if self.path is None else f"data.path={self.path}"


class ModelConfig(Section):
    """The network."""

    cell: str = "lstm"
    """recurrent cell, by its name in unroll.recurrence"""
    hidden: int = Field(128, ge=1)
    """hidden units per layer and direction"""
    layers: int = Field(1, ge=1, le=1000)
    """stacked recurrent layers"""


class TrainConfig(Section):
    """How long, how exactly, from which seed."""

    epochs: int = Field(10, ge=0)
    """passes over the training split; 0: as many as train.minutes has time for"""
    minutes: float = Field(0.0, ge=0)
    """stop and evaluate after this many minutes of training; 0: no limit"""
    evaluate_every: int = Field(1, ge=1)
    """epochs from one evaluation on the validation split to the next; the last one is always evaluated"""
    seed: int = Field(0, ge=0)
    """seed of the weights, the data order and the dropout masks"""
    precision: Annotated[Literal["32", "bf16-mixed", "16-mixed", "64"], BeforeValidator(str)] = "32"
    """arithmetic of the forward and backward pass, in Lightning's words"""
    accumulate: int = Field(1, ge=1)
    """batches whose gradients are added up before one optimiser step"""
    patience: int = Field(0, ge=0)
    """patience: stop after this many evaluations without a better score; 0: never"""
    checkpoint_minutes: float = Field(5.0, gt=0)
    """a checkpoint inside an epoch is written this often"""
    probe_every: int = Field(0, ge=0)
    """probe the gradient every this many optimiser steps; 0: never (see docs/diagnose.md)"""
    spike: float = Field(0.0, ge=0)
    """skip a step whose loss is more than this many times the median of the last 100; 0: never"""
    bad_steps: int = Field(5, ge=1)
    """stop after this many consecutive steps skipped because loss or gradient is not finite, or for a spike"""
    device: Literal["auto", "cpu", "gpu", "mps"] = "auto"
    """where to train"""

    @model_validator(mode="after")
    def _some_end(self) -> Self:
        if not self.epochs and not self.minutes:
            raise ValueError("train.epochs=0 needs an end by the clock: set train.minutes")
        return self


class OptimizerConfig(Section):
    """The optimiser, its schedule and the bound on the gradient."""

    name: Literal["adamw", "adam", "sgd", "rmsprop", "adagrad", "ntasgd"] = "adamw"
    """optimiser; ntasgd: SGD that averages its weights once the validation score stalls"""
    lr: float = Field(1e-3, gt=0)
    """peak learning rate"""
    weight_decay: float = Field(0.0, ge=0)
    """decoupled (adamw) or L2 weight decay"""
    clip: float = Field(1.0, ge=0)
    """largest global norm of the gradient; 0: no clipping"""
    schedule: Literal["constant", "cosine", "linear", "plateau", "decay"] = "constant"
    """learning rate after the warm-up; plateau quarters it when the validation score stalls; decay: see there"""
    decay: Annotated[float, Only("optimizer.schedule=decay")] = Field(0.5, gt=0, le=1)
    """schedule=decay: factor on the learning rate, for each epoch after the first `decay_after`"""
    decay_after: Annotated[int, Only("optimizer.schedule=decay")] = Field(1, ge=0)
    """schedule=decay: epochs at the full rate"""
    warmup: float = Field(0.0, ge=0, lt=1)
    """share of all steps over which the learning rate rises from zero"""
    average: float = Field(0.0, ge=0, lt=1)
    """evaluate and keep a running mean of the weights, with this decay per step (0.999); 0: the weights themselves"""

    @model_validator(mode="after")
    def _one_mean(self) -> Self:
        if self.average and self.name == "ntasgd":
            raise ValueError("optimizer.average: ntasgd keeps a mean of its own; leave one of them out")
        return self


class Config(Section):
    """All that one may change in an application. Printed in full at the start of a run and saved with it."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    optimizer: OptimizerConfig = OptimizerConfig()

    def override(self, settings: Iterable[str]) -> Self:
        """A copy with `section.key=value` settings applied in order.

        Values are read as JSON where they are JSON (`3`, `0.1`, `true`, `[1,2]`, `null`) and as text otherwise, and
        always where the setting is a text or a path. In a path, ~ is the home folder.

        Raises:
            UserError: a setting without `=`, an unknown key (names the nearest known one), or an invalid value.
        """
        changed, kinds = self.model_dump(mode="json"), dict(_kinds(self))
        for setting in settings:
            key, equals, text = setting.partition("=")
            if not equals:
                raise UserError(f"--set {setting}: write it as key=value, for example --set model.cell=gru")
            key, text = key.strip(), text.strip()
            _assign(changed, key, _meant(key, text, kinds.get(key, frozenset())), known=flat(self))
        return self.parse(changed)

    def chosen(self, settings: Iterable[str]) -> Self:
        """`override` with what a user has typed, who believes that all of it counts.

        With `data.path` and without `data.source`, the source is the one that such a file or folder is for, which is
        said in a `Notice`.

        Raises:
            UserError: as `override`; a path of the data to what is neither file nor folder, or may not be looked at; it
                fits no source, or several; a setting that would not be read.
        """
        settings = list(settings)
        config = self.override(settings)
        keys = {
            key.strip() for key, _, text in (s.partition("=") for s in settings) if _value(text.strip()) is not None
        }
        for name, value in config.data:
            if isinstance(value, Path) and f"data.{name}" in keys:
                check_path(f"data.{name}", value)
        config = config._with_source(keys)
        refuse_unread(sorted(keys), flat(config), flat(type(self)()), conditions(config))
        return config

    def _with_source(self, keys: set[str]) -> Self:
        data, path = self.data, self.data.path
        named = "data.source" in keys or data.source != type(data)().source
        if path is None or named or "data.path" not in keys or not data.sources:
            return self
        source = source_of(path, data.sources, keys)
        if source != data.source:
            text = f"data.path={path}: read as data.source={source}, {data.sources[source].path}"
            warnings.warn(text, Notice, stacklevel=4)
        return self.override([f"data.source={source}"])

    @classmethod
    def parse(cls, values: dict[str, Any]) -> Self:
        """The configuration held in plain (JSON) `values`.

        Raises:
            UserError: names the first invalid key, its value, and what is expected there.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise UserError(_first_problem(error, flat(cls()))) from None


def flat(section: Section, prefix: str = "") -> dict[str, Any]:
    """`{"model.cell": "lstm", ...}`: every setting by its full key, as plain JSON values."""
    return dict(_flatten(section.model_dump(mode="json"), prefix))


def conditions(config: Config) -> Conditions:
    """By the key of each setting that is not always read: when it is."""
    return {**by_source(config.data.sources), **dict(_conditions(config))}


def _conditions(section: Section, prefix: str = "") -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from _conditions(value, f"{prefix}{name}.")
        for mark in field.metadata:
            if isinstance(mark, Only):
                yield f"{prefix}{name}", mark.conditions


def describe(section: Section, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """(key, value, help text) of every setting, in the order of declaration."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from describe(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value, field.description or ""


def _flatten(values: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _assign(values: dict[str, Any], key: str, value: Any, known: Iterable[str]) -> None:
    if key not in known:
        raise UserError(f"--set {key}: unknown key; {did_you_mean(key, known)}")
    *sections, name = key.split(".")
    for section in sections:
        values = values[section]
    values[name] = value


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _meant(key: str, text: str, kinds: frozenset[Any]) -> Any:
    """What was typed for a setting of these types: a folder called 2024 or true is no number, and no truth."""
    value = _value(text)
    if not isinstance(value, str | None) and kinds and kinds <= {Path, str}:
        value = text
    if Path not in kinds or value is None:
        return value
    if not value:
        raise UserError(f"--set {key}=: is an empty path; is a variable of the shell unset? Write . for this folder")
    return os.path.expanduser(value)


def _kinds(section: Section, prefix: str = "") -> Iterator[tuple[str, frozenset[Any]]]:
    """(key, its types but None) of every setting."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from _kinds(value, f"{prefix}{name}.")
        else:
            either = get_args(field.annotation) if get_origin(field.annotation) in (Union, UnionType) else ()
            yield f"{prefix}{name}", frozenset(either or {field.annotation}) - {NoneType}


def _first_problem(error: ValidationError, known: Iterable[str]) -> str:
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key; {did_you_mean(key, known)}"
    message = problem["msg"].removeprefix("Value error, ")
    if isinstance(problem["input"], dict | BaseModel):  # settings that do not go together; it names them
        return message if "." in message.split("=")[0].split()[0] else f"{key or 'configuration'}: {message}"
    if problem["type"] == "tuple_type":
        message = f'write a list in brackets, such as {key}=[1,2] or {key}=\'["a","b"]\''
    return f"{key}: {message} (got {problem['input']!r})"
