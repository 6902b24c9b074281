"""The settings and presets."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from unroll.config import Config, DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from unroll.reads import Only, Reads


class VideoData(DataConfig):
    """The clips and their preprocessing."""

    sources: ClassVar = {
        "builtin": Reads(("clips", "seed")),
        "moving-mnist": Reads(path="a file like mnist_test_seq.npy", files=("*.npy",)),
        "folder": Reads(("colour",), path="a folder with a subfolder of clips for each class", folders=("*",)),
    }
    source: Literal["builtin", "moving-mnist", "folder"] = "builtin"
    """builtin: digits in motion; moving-mnist: the published sequences; folder: your own (see path)"""
    clips: int = Field(10000, ge=16)
    """builtin: number of training clips; val and test have a tenth and a fifth as many, of other digits"""
    seed: int = Field(0, ge=0)
    """builtin: random seed of the clips"""
    size: int = Field(24, ge=8, le=512)
    """side, in pixels, of the square that frames are cropped and scaled to"""
    colour: bool = False
    """folder: use colour instead of greyscale"""
    every: int = Field(1, ge=1)
    """folder: temporal stride: keep every n-th frame"""
    context: Annotated[int, Only("train.task=predict_frames")] = Field(5, ge=2)
    """predict_frames: number of input frames"""
    horizon: Annotated[int, Only("train.task=predict_frames")] = Field(10, ge=1)
    """predict_frames: number of frames to predict"""


class VideoModel(ModelConfig):
    """The network."""

    over_maps: ClassVar = True
    cell: str = "gru"
    """name of the recurrent cell in unroll.recurrence; predict_frames: convlstm or convgru"""
    hidden: int = Field(96, ge=1)
    """hidden units (predict_frames: channels of the hidden maps) per layer"""
    width: Annotated[int, Only("train.task=classify")] = Field(16, ge=4, multiple_of=4)
    """classify: channels of the first convolution; the others have twice as many"""
    dropout: Annotated[float, Only("train.task=classify")] = Field(0.2, ge=0, lt=1)
    """classify: dropout rate"""
    patch: Annotated[int, Only("train.task=predict_frames")] = Field(2, ge=1)
    """predict_frames: side, in pixels, of the patch that is one position of the hidden maps; must divide data.size"""
    reach: Annotated[int, Only("train.task=predict_frames")] = Field(2, ge=1)
    """predict_frames: maximum motion, in pixels, between two frames"""


class VideoTrain(TrainConfig):
    """Length, precision and seed of the training."""

    task: Literal["classify", "predict_frames"] = "classify"
    """classify: predict the class of a clip; predict_frames: predict the next frames"""
    batch: int = Field(480, ge=1)
    """frames per batch, padding included"""


class VideoConfig(Config):
    """The settings of a video model."""

    data: VideoData = VideoData()
    model: VideoModel = VideoModel()
    train: VideoTrain = VideoTrain(epochs=11)
    optimizer: OptimizerConfig = OptimizerConfig(lr=2e-3, schedule="cosine", warmup=0.05)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.train.task == "classify" and self.data.source == "moving-mnist":
            raise ValueError("data.source=moving-mnist has no classes; use the preset moving-mnist")
        if self.train.task == "predict_frames" and self.data.size % self.model.patch:
            raise ValueError(f"model.patch={self.model.patch} must divide data.size={self.data.size}")
        return self

    @property
    def window(self) -> int | None:
        """Length of a training window, in frames; None if clips are used whole."""
        return self.data.context + self.data.horizon if self.train.task == "predict_frames" else None


DEFAULT = VideoConfig()
FRAMES = ["train.task=predict_frames", "model.cell=convgru", "model.hidden=32", "optimizer.lr=0.01"]
PRESETS = {
    "default": DEFAULT,
    "smoke": DEFAULT.override(
        ["data.clips=160", "data.size=16", "model.hidden=32", "train.epochs=4", "train.batch=240"]
    ),
    "frames": DEFAULT.override([*FRAMES, "data.clips=6000", "data.size=20", "train.epochs=3", "train.batch=120"]),
    "moving-mnist": DEFAULT.override(
        [*FRAMES, "data.source=moving-mnist", "data.size=64", "data.context=10", "model.patch=4", "model.reach=4",
         "model.hidden=64", "train.batch=320"]
    ),
}  # fmt: skip
