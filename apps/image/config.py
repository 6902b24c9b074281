"""Everything one may change."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from unroll.config import Config, DataConfig, ModelConfig, OptimizerConfig, Section, TrainConfig
from unroll.reads import Only, Reads

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
    """builtin: scikit-learn's digits; mnist, fashion-mnist; folder: your own, a subfolder for each class (see path)"""
    size: tuple[Side, Side] = (32, 32)
    """folder: height and width that pictures are brought to; the middle is cut out"""
    colour: bool = False
    """folder: red, green and blue instead of grey"""
    levels: int = Field(0, ge=0, le=256)
    """grey levels that pixels are rounded to; 0: as they come (builtin 17, else 256)"""
    limit: int = Field(0, ge=0)
    """pictures to train on at most, evenly spread over the training split; 0: all"""

    @field_validator("levels")
    @classmethod
    def _two(cls, levels: int) -> int:
        if levels == 1:
            raise ValueError("write 0 (as they come) or at least 2")
        return levels


class ImageModel(ModelConfig):
    """The network."""

    hidden: int = Field(96, ge=1)
    """hidden units per layer and direction"""
    layers: int = Field(2, ge=1, le=1000)
    """stacked recurrent layers"""
    order: Annotated[Literal["rows", "pixels", "permuted", "patches", "sweeps"], Only("train.task=classify")] = "rows"
    """classify: what a step reads, and in which order; sweeps: patches along rows, then down columns (ReNet)"""
    patch: Annotated[int, Only("model.order=patches,sweeps")] = Field(2, ge=1)
    """patches, sweeps: height and width of a patch in pixels"""
    permutation: Annotated[int, Only("model.order=permuted")] = Field(0, ge=0)
    """permuted: seed of the order, which is saved with the model"""
    bidirectional: Annotated[bool, Only("train.task=classify")] = True
    """classify: two directions or one (sweeps always have two)"""
    pooling: Annotated[Literal["last", "mean", "max", "attention"], Only("train.task=classify")] = "mean"
    """classify: from the states to one vector"""
    init: str | None = None
    """initialisation of the recurrent weights, by its name in unroll.recurrence.init, for example chrono:64"""
    maps: Annotated[int, Only("train.task=complete")] = Field(48, ge=1)
    """complete: feature maps of the convolutional LSTM that reads the rows above"""
    dropout: float = Field(0.3, ge=0, lt=1)
    """share of features dropped, between layers and before the output"""


class ImageTrain(TrainConfig):
    """What is learnt, how long, how exactly, from which seed."""

    task: Literal["classify", "complete", "denoise"] = "classify"
    """classify: name the class; complete: the probability of every pixel given those before it; denoise"""
    epochs: int = Field(80, ge=0)
    """passes over the training split; 0: as many as train.minutes has time for"""
    batch: int = Field(64, ge=1)
    """pictures in a batch"""
    distort: Annotated[float, Only("train.task=classify")] = Field(0.15, ge=0, lt=1)
    """classify: pictures are moved, turned, stretched and slanted by up to this share, differently in every step"""
    noise: Annotated[float, Only("train.task=denoise")] = Field(0.3, gt=0)
    """denoise: standard deviation of the noise, on a scale from black 0 to white 1"""


class ImageOptimizer(OptimizerConfig):
    """The optimiser, its schedule and the bound on the gradient."""

    lr: float = Field(5e-3, gt=0)
    """peak learning rate"""
    schedule: Literal["constant", "cosine", "linear", "plateau", "decay"] = "cosine"
    """learning rate after the warm-up"""
    warmup: float = Field(0.05, ge=0, lt=1)
    """share of all steps over which the learning rate rises from zero"""


class PredictConfig(Section):
    """What `invoke predict` does."""

    keep: Annotated[float, Only("train.task=complete")] = Field(0.5, ge=0, lt=1)
    """complete: share of the rows, from the top, that is kept; what is below is filled in"""
    temperature: Annotated[float, Only("train.task=complete")] = Field(1.0, gt=0)
    """complete: below 1 the more probable grey levels are drawn more often"""
    seed: Annotated[int, Only("train.task=complete")] = Field(0, ge=0)
    """complete: of what is drawn"""
    invert: bool = False
    """swap black and white first: for dark writing on paper and a model of bright writing on black"""
    folder: Path = Path("predicted")
    """complete, denoise: where the pictures are written"""


class ImageConfig(Config):
    """A model of pictures, read as sequences."""

    data: ImageData = ImageData()
    model: ImageModel = ImageModel()
    train: ImageTrain = ImageTrain()
    optimizer: ImageOptimizer = ImageOptimizer()
    predict: PredictConfig = PredictConfig()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.train.task == "complete" and self.data.colour:
            raise ValueError("train.task=complete draws grey pictures; set data.colour=false")
        if self.model.order == "sweeps" and self.model.pooling == "last":
            raise ValueError("model.order=sweeps has no last state; set model.pooling=mean, max or attention")
        return self


DEFAULT = ImageConfig()
# One direction and the last state: the first pixel is 64 steps away from the answer.
PIXELS = [
    "model.order=pixels",
    "model.bidirectional=false",
    "model.pooling=last",
    "model.layers=1",
    "model.cell=gru",
    "model.hidden=128",
    "train.epochs=70",
    "train.distort=0.05",
    "optimizer.average=0.99",  # the best of 183 pictures is a matter of luck; a running mean of the weights is less so
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
