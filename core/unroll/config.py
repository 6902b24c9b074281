"""Typed, frozen configurations with presets and `key=value` overrides; common settings have the same name everywhere.

An application subclasses the four sections, adds its own fields (each with a one-line docstring, which is its help
text) and collects them in one `Config`. The keys declared here mean the same in every application.
"""

import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Self, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from unroll import surface
from unroll.errors import Notice, UserError, did_you_mean
from unroll.reads import Conditions, Only, Reads, by_source, check_path, refuse_unread, source_of


class Section(BaseModel):
    """A group of settings: immutable, and without undeclared keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False, validate_default=True
    )


class DataConfig(Section):
    """The source of the examples."""

    sources: ClassVar[Mapping[str, Reads]] = {}
    """the settings that each value of `source` reads"""

    source: str = "builtin"
    """name of the data set; "builtin" needs no download"""
    path: Path | None = None
    """file or folder with your own data, for sources that read one"""

    @property
    def named(self) -> str:
        """How messages refer to the data: by the setting that selects them."""
        return f"data.source={self.source}" if self.path is None else f"data.path={self.path}"


class ModelConfig(Section):
    """The network."""

    over_maps: ClassVar[bool] = False
    """whether `cell` may be one over maps: convlstm, convgru"""

    cell: str = "lstm"
    """name of the recurrent cell in unroll.recurrence"""
    hidden: int = Field(128, ge=1)
    """hidden units per layer and direction"""
    layers: int = Field(1, ge=1, le=1000)
    """number of stacked recurrent layers"""


class TrainConfig(Section):
    """Length, precision and seed of the training."""

    epochs: int = Field(10, ge=0)
    """passes over the training split; 0: as many as fit into train.minutes"""
    minutes: float = Field(0.0, ge=0)
    """stop training and evaluate after this many minutes; 0: no limit"""
    evaluate_every: int = Field(1, ge=1)
    """evaluate on the validation split every this many epochs, and after the last"""
    seed: int = Field(0, ge=0)
    """seed of the weights, the data order and the dropout masks"""
    precision: Annotated[Literal["32", "bf16-mixed", "16-mixed", "64"], BeforeValidator(str)] = "32"
    """floating-point precision of the forward and backward pass, by Lightning's name"""
    accumulate: int = Field(1, ge=1)
    """gradient accumulation: batches per optimiser step"""
    patience: int = Field(0, ge=0)
    """early stopping: stop after this many evaluations without improvement; 0: never"""
    checkpoint_minutes: float = Field(5.0, gt=0)
    """minutes between checkpoints within an epoch"""
    probe_every: int = Field(0, ge=0)
    """optimiser steps between probes of the gradient; 0: no probes (see docs/diagnose.md)"""
    spike: float = Field(0.0, ge=0)
    """skip a step whose loss is more than this many times the median of the last 100; 0: never"""
    bad_steps: int = Field(5, ge=1)
    """stop after this many consecutive skipped steps (non-finite loss or gradient, or a spike)"""
    device: Literal["auto", "cpu", "gpu", "mps"] = "auto"
    """device to train on"""

    @model_validator(mode="after")
    def _some_end(self) -> Self:
        if not self.epochs and not self.minutes:
            raise ValueError("train.epochs=0 needs a time limit: set train.minutes")
        return self


class OptimizerConfig(Section):
    """The optimiser, its learning-rate schedule and gradient clipping."""

    name: Literal["adamw", "adam", "sgd", "rmsprop", "adagrad", "ntasgd"] = "adamw"
    """optimiser; ntasgd: SGD with weight averaging once the validation score stalls"""
    lr: float = Field(1e-3, gt=0)
    """peak learning rate"""
    weight_decay: float = Field(0.0, ge=0)
    """decoupled (adamw) or L2 weight decay"""
    clip: float = Field(1.0, ge=0)
    """gradient clipping: maximum global norm of the gradient; 0: no clipping"""
    schedule: Literal["constant", "cosine", "linear", "plateau", "decay"] = "constant"
    """learning rate after the warm-up; plateau: quartered when the validation score stalls; decay: see `decay`"""
    decay: Annotated[float, Only("optimizer.schedule=decay")] = Field(0.5, gt=0, le=1)
    """schedule=decay: factor by which the learning rate is multiplied after each epoch beyond `decay_after`"""
    decay_after: Annotated[int, Only("optimizer.schedule=decay")] = Field(1, ge=0)
    """schedule=decay: number of initial epochs at the full learning rate"""
    warmup: float = Field(0.0, ge=0, lt=1)
    """warm-up: fraction of all steps over which the learning rate rises linearly from zero"""
    average: float = Field(0.0, ge=0, lt=1)
    """evaluate and save an exponential moving average of the weights with this decay (0.999); 0: no averaging"""

    @model_validator(mode="after")
    def _one_mean(self) -> Self:
        if self.average and self.name == "ntasgd":
            raise ValueError("optimizer.average: ntasgd already averages the weights; leave out one of them")
        return self


class Config(Section):
    """All settings of an application. Printed in full at the start of a run and saved with it."""

    window_setting: ClassVar[str] = ""
    """key of the window of truncated back-propagation, such as "train.window"; empty: the state is not carried"""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    optimizer: OptimizerConfig = OptimizerConfig()

    def override(self, settings: Iterable[str]) -> Self:
        """A copy with `section.key=value` settings applied in order.

        Values that are valid JSON (`3`, `0.1`, `true`, `[1,2]`, `null`) are parsed as JSON. Others are taken as text,
        and so is every value of a text or path setting. In a path, ~ is the home folder.

        Raises:
            UserError: a setting without `=`, an unknown key (names the nearest known one), or an invalid value.
        """
        changed, kinds = self.model_dump(mode="json"), dict(_kinds(self))
        for setting in settings:
            key, equals, text = setting.partition("=")
            if not equals:
                example = surface.settings("model.cell=gru")
                raise UserError(f"{surface.settings(setting)}: write it as key=value, for example {example}")
            key, text = key.strip(), text.strip()
            _assign(changed, key, _meant(key, text, kinds.get(key, frozenset())), known=flat(self))
        return self.parse(changed)

    def chosen(self, settings: Iterable[str]) -> Self:
        """`override` for settings that a user has typed and expects to take effect.

        If `data.path` is given without `data.source`, the source is inferred from the file or folder, and a `Notice`
        says which it is.

        Raises:
            UserError: as in `override`; also if a data path is neither a file nor a folder, cannot be accessed, or fits
                no source or several; or if a setting would not be read.
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
    """The conditions under which each setting is read, for those that are not always read."""
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
        raise UserError(f"{surface.settings(key)}: unknown key; {did_you_mean(key, known)}")
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
    """The typed text as a value of one of these types: a folder called 2024 or true is not a number or a boolean."""
    value = _value(text)
    if not isinstance(value, str | None) and kinds and kinds <= {Path, str}:
        value = text
    if Path not in kinds or value is None:
        return value
    if not value:
        raise UserError(
            f"{surface.settings(f'{key}=')}: is an empty path; is a shell variable unset? Write . for this folder"
        )
    return os.path.expanduser(value)


def _kinds(section: Section, prefix: str = "") -> Iterator[tuple[str, frozenset[Any]]]:
    """(key, its types except None) of every setting."""
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
