"""The settings and presets."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from unroll.config import Config, DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from unroll.reads import Only

from .options import Decoding, Objective
from .sources import READS


class CaptioningData(DataConfig):
    """The pictures and their captions."""

    sources: ClassVar = READS
    source: Literal["builtin", "flickr8k", "flickr30k", "coco", "folder"] = "builtin"
    """builtin: rendered scenes; flickr8k, flickr30k, coco: published annotation files (see path); folder: your own"""
    images: Path | None = None
    """flickr8k, flickr30k, coco: folder of the pictures (default: data.path)"""
    pictures: int = Field(8000, ge=10)
    """builtin: number of training scenes; val and test have a twentieth and an eighth as many, at most 200 and 500"""
    seed: int = Field(0, ge=0)
    """builtin: random seed of the scenes"""
    side: int = Field(48, ge=16, le=1024)
    """side, in pixels, of the square that pictures are fitted into"""
    vocabulary: int = Field(10000, ge=3)
    """maximum vocabulary size: the most frequent words of the training captions"""


class CaptioningModel(ModelConfig):
    """The network."""

    embedding: int = Field(64, ge=1)
    """size of a word embedding"""
    attention: Literal["additive", "dot", "general", "multihead", "none"] = "general"
    """attention over image regions (show-attend-and-tell); none: their mean only (show-and-tell)"""
    feedback: bool = False
    """feed the attention context into the next step (Xu et al.); if not, training runs all words in parallel"""
    dropout: float = Field(0.0, ge=0, lt=1)
    """dropout rate on word embeddings, between layers, and before the output layer"""
    word_dropout: float = Field(0.1, ge=0, lt=1)
    """fraction of input words masked in training, so that the picture counts for more than the words so far"""
    width: Annotated[int, Only("model.backbone=")] = Field(24, ge=1)
    """built-in encoder: channels of the first layer"""
    stages: Annotated[int, Only("model.backbone=")] = Field(2, ge=1)
    """built-in encoder: stages, each halving the sides and doubling the channels; the first layer halves them too"""
    backbone: str = ""
    """timm model to use instead of the built-in encoder (needs: pip install 'unroll[backbones]')"""
    frozen: Annotated[bool, Only("model.backbone!=")] = True
    """freeze the backbone; its features are then computed once and cached on disk"""


class CaptioningTrain(Objective, TrainConfig):
    """Length, precision and seed of the training."""

    batch: int = Field(32, ge=1)
    """pictures per batch"""
    captions: int = Field(1, ge=1)
    """captions per picture in a batch, sampled again in every epoch"""


class CaptioningConfig(Config):
    """The settings of a captioning model."""

    data: CaptioningData = CaptioningData()
    model: CaptioningModel = CaptioningModel()
    train: CaptioningTrain = CaptioningTrain(epochs=12)
    optimizer: OptimizerConfig = OptimizerConfig(lr=4e-3, schedule="cosine", warmup=0.05)
    decode: Decoding = Decoding()


DEFAULT = CaptioningConfig()
PRESETS = {
    "default": DEFAULT,
    "smoke": DEFAULT.override(
        [
            "data.pictures=300",
            "model.hidden=48",
            "model.embedding=32",
            "model.width=8",
            "train.epochs=3",
            "train.batch=16",
        ]
    ),
}
