"""The settings and presets."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from unroll.config import Config, DataConfig, ModelConfig, OptimizerConfig, Section, TrainConfig
from unroll.reads import Only, Reads, patterns

from .model import Method

RAMP = 12
"""epochs over which scheduled sampling ramps up if only a time limit is set and the number of epochs is unknown"""


class CaptioningData(DataConfig):
    """The pictures and their captions."""

    sources: ClassVar = {
        "builtin": Reads(("pictures", "seed")),
        "flickr8k": Reads(
            ("images",),
            path="the folder of dataset_flickr8k.json or Flickr8k.token.txt",
            folders=("dataset_flickr8k.json", "flickr8k.token.txt"),
        ),
        "flickr30k": Reads(
            ("images",),
            path="the folder of dataset_flickr30k.json or results_20130124.token",
            folders=("dataset_flickr30k.json", "results_20130124.token"),
        ),
        "coco": Reads(
            ("images",),
            path="the folder of dataset_coco.json or captions_train2017.json",
            folders=("dataset_coco.json", "captions_train20*.json", "annotations"),
        ),
        "folder": Reads(
            path="a folder of pictures and the table of their captions, or that table",
            files=(*patterns("csv", "tsv", "jsonl", "ndjson", "json"), "captions.txt"),
            folders=(*patterns("csv", "tsv", "jsonl", "ndjson", "json"), "captions.txt"),
        ),
    }
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


class CaptioningTrain(TrainConfig):
    """Length, precision and seed of the training."""

    batch: int = Field(32, ge=1)
    """pictures per batch"""
    captions: int = Field(1, ge=1)
    """captions per picture in a batch, sampled again in every epoch"""
    coverage: float = Field(0.0, ge=0)
    """weight of the doubly stochastic attention loss: every region should be attended to once"""
    forget: float = Field(0.0, ge=0, le=1)
    """scheduled sampling: final fraction of inputs that the model predicted, reached over train.epochs (0: over 12)"""
    self_critical_from: int = Field(0, ge=0)
    """epochs before self-critical training on CIDEr begins; 0: never"""
    rollouts: Annotated[int, Only("train.self_critical_from!=0")] = Field(5, ge=1)
    """captions sampled per picture in self-critical training"""


class DecodeConfig(Section):
    """How captions are decoded. These may be changed on a trained model."""

    method: Method = "beam"
    """beam: beam search; diverse: beam search in groups that avoid each other's words; sample: random sampling"""
    beam: Annotated[int, Only("decode.method!=sample")] = Field(3, ge=1)
    """beam width"""
    groups: Annotated[int, Only("decode.method=diverse")] = Field(3, ge=1)
    """diverse: number of groups that the beam is divided into"""
    diversity: Annotated[float, Only("decode.method=diverse")] = Field(0.5, ge=0)
    """diverse: penalty, in nats, for a word that another group has just chosen"""
    length_penalty: Annotated[float, Only("decode.method!=sample")] = Field(0.7, ge=0)
    """exponent of the length that log probabilities are divided by; 0 favours short captions"""
    n_best: int = Field(1, ge=1)
    """captions per picture; metrics use the first"""
    longest: int = Field(50, ge=1)
    """maximum number of words"""
    temperature: Annotated[float, Only("decode.method=sample")] = Field(1.0, gt=0)
    """sample: softmax temperature; below 1 sharper, above 1 flatter"""
    top_p: Annotated[float, Only("decode.method=sample")] = Field(1.0, gt=0, le=1)
    """sample: restrict to the most probable words that together have this probability (top-p)"""
    seed: Annotated[int, Only("decode.method=sample")] = Field(0, ge=0)
    """sample: random seed"""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.method != "sample" and self.n_best > self.beam:
            raise ValueError(f"decode.n_best={self.n_best} is more than decode.beam={self.beam}; raise the beam")
        if self.method == "diverse" and self.beam % self.groups:
            raise ValueError(f"decode.groups={self.groups} must divide decode.beam={self.beam}")
        return self


class CaptioningConfig(Config):
    """The settings of a captioning model."""

    data: CaptioningData = CaptioningData()
    model: CaptioningModel = CaptioningModel()
    train: CaptioningTrain = CaptioningTrain(epochs=12)
    optimizer: OptimizerConfig = OptimizerConfig(lr=4e-3, schedule="cosine", warmup=0.05)
    decode: DecodeConfig = DecodeConfig()


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
