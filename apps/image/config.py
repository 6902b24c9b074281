"""The settings and presets."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from unroll.config import Config, DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from unroll.reads import Only, Reads

from .options import Predicting

Side = Annotated[int, Field(ge=1, le=1024)]
"""pixels"""


class ImageData(DataConfig):
    """The pictures."""

    sources: ClassVar = {
        "builtin": Reads(),
        "mnist": Reads(),
        "fashion-mnist": Reads(),
        "folder": Reads(("size", "colour"), path="a folder with a subfolder for each class", folders=("*",)),
    }
    source: Literal["builtin", "mnist", "fashion-mnist", "folder"] = "builtin"
    """builtin: scikit-learn's digits; mnist, fashion-mnist; folder: your own, one subfolder per class (see path)"""
    size: tuple[Side, Side] = (32, 32)
    """folder: height and width that pictures are resized and centre-cropped to"""
    colour: bool = False
    """folder: use colour instead of greyscale"""
    levels: int = Field(0, ge=0, le=256)
    """number of grey levels to quantise pixels to; 0: unchanged (17 for builtin, else 256)"""
    limit: int = Field(0, ge=0)
    """maximum number of training pictures, taken evenly from the training split; 0: all"""

    @field_validator("levels")
    @classmethod
    def _two(cls, levels: int) -> int:
        if levels == 1:
            raise ValueError("write 0 (unchanged) or at least 2")
        return levels


class ImageModel(ModelConfig):
    """The network."""

    order: Annotated[Literal["rows", "pixels", "permuted", "patches", "sweeps"], Only("train.task=classify")] = "rows"
    """classify: what one step reads, and in which order; sweeps: patches along rows, then down columns (ReNet)"""
    patch: Annotated[int, Only("model.order=patches,sweeps")] = Field(2, ge=1)
    """patches, sweeps: height and width of a patch in pixels"""
    permutation: Annotated[int, Only("model.order=permuted")] = Field(0, ge=0)
    """permuted: random seed of the permutation, which is saved with the model"""
    bidirectional: Annotated[bool, Only("train.task=classify")] = True
    """classify: read in both directions (sweeps always do)"""
    pooling: Annotated[Literal["last", "mean", "max", "attention"], Only("train.task=classify")] = "mean"
    """classify: how the states are pooled into one vector"""
    init: str | None = None
    """name of an initialisation in unroll.recurrence.init for the recurrent weights, for example chrono:64"""
    maps: Annotated[int, Only("train.task=complete")] = Field(48, ge=1)
    """complete: feature maps of the convolutional LSTM that reads the rows above"""
    dropout: float = Field(0.3, ge=0, lt=1)
    """dropout rate between layers and before the output"""


class ImageTrain(TrainConfig):
    """Task, length, precision and seed of the training."""

    task: Literal["classify", "complete", "denoise"] = "classify"
    """classify: predict the class; complete: model each pixel given those before it; denoise: remove noise"""
    batch: int = Field(64, ge=1)
    """pictures per batch"""
    distort: Annotated[float, Only("train.task=classify")] = Field(0.15, ge=0, lt=1)
    """classify: augmentation: random shift, rotation, scaling and shear by up to this fraction"""
    noise: Annotated[float, Only("train.task=denoise")] = Field(0.3, gt=0)
    """denoise: standard deviation of the noise, on a scale from black 0 to white 1"""


class ImageConfig(Config):
    """The settings of a model that reads pictures as sequences."""

    data: ImageData = ImageData()
    model: ImageModel = ImageModel(hidden=96, layers=2)
    train: ImageTrain = ImageTrain(epochs=80)
    optimizer: OptimizerConfig = OptimizerConfig(lr=5e-3, schedule="cosine", warmup=0.05)
    predict: Predicting = Predicting()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.train.task == "complete" and self.data.colour:
            raise ValueError("train.task=complete draws grey pictures; set data.colour=false")
        if self.model.order == "sweeps" and self.model.pooling == "last":
            raise ValueError("model.order=sweeps has no last state; set model.pooling=mean, max or attention")
        return self


DEFAULT = ImageConfig()
# One direction and the last state: the first pixel is 64 steps away from the output.
PIXELS = [
    "model.order=pixels",
    "model.bidirectional=false",
    "model.pooling=last",
    "model.layers=1",
    "model.cell=gru",
    "model.hidden=128",
    "train.epochs=70",
    "train.distort=0.05",
    "optimizer.average=0.99",  # on 183 pictures the best epoch is a matter of luck; averaged weights are less so
]
PUBLISHED = ["model.hidden=128", "train.batch=128", "train.epochs=8"]
PRESETS = {
    "default": DEFAULT,
    "smoke": DEFAULT.override(["data.limit=300", "model.hidden=32", "model.layers=1", "train.epochs=3"]),
    "pixels": DEFAULT.override(PIXELS),
    "permuted": DEFAULT.override([*PIXELS, "model.order=permuted"]),
    "complete": DEFAULT.override(
        [
            "train.task=complete",
            "model.layers=1",
            "model.hidden=160",
            "model.dropout=0.35",
            "train.epochs=40",
            "train.batch=32",
            "optimizer.lr=0.015",
        ]
    ),
    "denoise": DEFAULT.override(["train.task=denoise", "model.layers=1", "model.hidden=48", "train.epochs=30"]),
    "mnist": DEFAULT.override(["data.source=mnist", *PUBLISHED]),
    "fashion-mnist": DEFAULT.override(["data.source=fashion-mnist", *PUBLISHED]),
}
