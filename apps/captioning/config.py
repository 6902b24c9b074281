"""Everything one may change."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from unroll.config import Config, DataConfig, ModelConfig, OptimizerConfig, Section, TrainConfig
from unroll.reads import Only, Reads, patterns

from .model import Method

RAMP = 12
"""epochs over which scheduled sampling rises where a training ends by the clock and has no number of them"""


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
    """builtin: rendered scenes; flickr8k, flickr30k, coco: their own annotation files (see path); folder: your own"""
    images: Path | None = None
    """flickr8k, flickr30k, coco: folder with the pictures; default: data.path"""
    pictures: int = Field(8000, ge=10)
    """builtin: scenes to train on; val and test are a twentieth and an eighth of it, at most 200 and 500"""
    seed: int = Field(0, ge=0)
    """builtin: of everything that is drawn in making the scenes"""
    side: int = Field(48, ge=16, le=1024)
    """pixels of the square that pictures are fitted into"""
    vocabulary: int = Field(10000, ge=3)
    """words known at most, the most frequent of the training captions"""


class CaptioningModel(ModelConfig):
    """The network."""

    embedding: int = Field(64, ge=1)
    """features of a word"""
    attention: Literal["additive", "dot", "general", "multihead", "none"] = "general"
    """how the decoder looks at places (show-attend-and-tell); none: only at their mean (show-and-tell)"""
    feedback: bool = False
    """whether what it looked at is part of the next input (Xu et al.); without, training takes all words at once"""
    dropout: float = Field(0.0, ge=0, lt=1)
    """share of features dropped: of words, between layers, before the output layer"""
    word_dropout: float = Field(0.1, ge=0, lt=1)
    """share of the words read in training that are hidden, so that what is seen counts for more than what was said"""
    width: Annotated[int, Only("model.backbone=")] = Field(24, ge=1)
    """our own encoder: channels of its first layer"""
    stages: Annotated[int, Only("model.backbone=")] = Field(2, ge=1)
    """our own encoder: each halves the sides and doubles the channels; the first layer halves them too"""
    backbone: str = ""
    """name of a network in timm that takes the place of our own encoder (needs: pip install 'unroll[backbones]')"""
    frozen: Annotated[bool, Only("model.backbone!=")] = True
    """whether a backbone stays as it is; then its annotations are computed once and kept on disk"""


class CaptioningTrain(TrainConfig):
    """How long, how exactly, from which seed."""

    epochs: int = Field(12, ge=0)
    """passes over the training split; 0: as many as train.minutes has time for"""
    batch: int = Field(32, ge=1)
    """pictures in a batch"""
    captions: int = Field(1, ge=1)
    """captions of each picture in a batch, redrawn in every epoch"""
    coverage: float = Field(0.0, ge=0)
    """weight of the doubly stochastic term: every place should be looked at once"""
    forget: float = Field(0.0, ge=0, le=1)
    """scheduled sampling: share of words read from the model itself, rising from 0 over train.epochs (0: over 12)"""
    self_critical_from: int = Field(0, ge=0)
    """epochs before self-critical training on CIDEr begins; 0: never"""
    rollouts: Annotated[int, Only("train.self_critical_from!=0")] = Field(5, ge=1)
    """captions drawn of each picture in self-critical training"""


class CaptioningOptimizer(OptimizerConfig):
    """The optimiser, its schedule and the bound on the gradient."""

    lr: float = Field(4e-3, gt=0)
    """peak learning rate"""
    schedule: Literal["constant", "cosine", "linear", "plateau", "decay"] = "cosine"
    """learning rate after the warm-up"""
    warmup: float = Field(0.05, ge=0, lt=1)
    """share of all steps over which the learning rate rises from zero"""


class DecodeConfig(Section):
    """How captions are written. A trained model may be given other values."""

    method: Method = "beam"
    """beam; diverse: beam search in groups that avoid each other's words; sample: draw"""
    beam: Annotated[int, Only("decode.method!=sample")] = Field(3, ge=1)
    """hypotheses kept"""
    groups: Annotated[int, Only("decode.method=diverse")] = Field(3, ge=1)
    """diverse: into which the beam is divided"""
    diversity: Annotated[float, Only("decode.method=diverse")] = Field(0.5, ge=0)
    """diverse: what a word costs that another group has just written, in nats"""
    length_penalty: Annotated[float, Only("decode.method!=sample")] = Field(0.7, ge=0)
    """log probabilities are divided by the length to the power of this; 0 prefers short captions"""
    n_best: int = Field(1, ge=1)
    """captions of each picture; the metrics are those of the first"""
    longest: int = Field(50, ge=1)
    """words at most"""
    temperature: Annotated[float, Only("decode.method=sample")] = Field(1.0, gt=0)
    """sample: p^(1/temperature)"""
    top_p: Annotated[float, Only("decode.method=sample")] = Field(1.0, gt=0, le=1)
    """sample: only the most probable words that together have this probability"""
    seed: Annotated[int, Only("decode.method=sample")] = Field(0, ge=0)
    """sample: of the drawing"""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.method != "sample" and self.n_best > self.beam:
            raise ValueError(f"decode.n_best={self.n_best} is more than decode.beam={self.beam}; raise the beam")
        if self.method == "diverse" and self.beam % self.groups:
            raise ValueError(f"decode.groups={self.groups} must divide decode.beam={self.beam}")
        return self


class CaptioningConfig(Config):
    """A model of captions."""

    data: CaptioningData = CaptioningData()
    model: CaptioningModel = CaptioningModel()
    train: CaptioningTrain = CaptioningTrain()
    optimizer: CaptioningOptimizer = CaptioningOptimizer()
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
