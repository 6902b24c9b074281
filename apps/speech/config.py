"""Everything one may change."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from unroll.config import Config, DataConfig, ModelConfig, OptimizerConfig, Section, TrainConfig
from unroll.reads import Only, Reads, patterns


class SpeechData(DataConfig):
    """The recordings, and how they are seen."""

    sources: ClassVar = {
        "builtin": Reads(("utterances",)),
        "fsdd": Reads(("held_out", "join")),
        "folder": Reads(
            path="a folder of recordings and the table of their transcripts, or that table",
            files=patterns("csv", "tsv", "tab", "jsonl", "ndjson", "json"),
            folders=("*",),
        ),
    }
    source: Literal["builtin", "fsdd", "folder"] = "builtin"
    """builtin: digit strings by espeak-ng; fsdd: Free Spoken Digit Dataset; folder: your own (see path)"""
    utterances: int = Field(3000, ge=10)
    """builtin: utterances to train on; a tenth and a fifth as many, in other voices, for val and test"""
    seed: Annotated[int, Only("data.source=builtin", "data.join", "data.perturb")] = Field(0, ge=0)
    """of everything that is drawn in making the data"""
    held_out: str = ""
    """fsdd: the speaker to test on, unheard in training; empty: the publisher's split"""
    join: int = Field(1, ge=1)
    """fsdd: recordings joined into one utterance"""
    perturb: int = Field(0, ge=0)
    """copies of each utterance of train and val at other speeds (and so pitches), in noise"""
    rate: int = Field(8000, ge=4000, le=48000)
    """samples per second that recordings are converted to"""
    bands: int = Field(40, ge=4, le=128)
    """mel bands"""
    level: bool = True
    """bring each recording to the same mean power; needs it whole, so not for streaming"""
    units: Literal["characters", "words"] = "characters"
    """symbols that the model writes"""


class SpeechModel(ModelConfig):
    """The network."""

    cell: str = "gru"
    """recurrent cell, by its name in unroll.recurrence"""
    hidden: int = Field(96, ge=1)
    """hidden units per layer and direction"""
    layers: int = Field(2, ge=1, le=1000)
    """stacked recurrent layers"""
    bidirectional: bool = True
    """two directions, or one that can stream"""
    stack: int = Field(3, ge=1)
    """frames of 10 ms joined into one step"""
    dropout: float = Field(0.1, ge=0, lt=1)
    """share of units dropped between layers"""


class SpeechTrain(TrainConfig):
    """How long, how exactly, from which seed."""

    epochs: int = Field(10, ge=0)
    """passes over the training split; 0: as many as train.minutes has time for"""
    batch: float = Field(40.0, gt=0)
    """seconds of audio in a batch, padding included"""


class SpeechOptimizer(OptimizerConfig):
    """The optimiser, its schedule and the bound on the gradient."""

    lr: float = Field(3e-3, gt=0)
    """peak learning rate"""
    schedule: Literal["constant", "cosine", "linear", "plateau"] = "cosine"
    """learning rate after the warm-up"""
    warmup: float = Field(0.1, ge=0, lt=1)
    """share of all steps over which the learning rate rises from zero"""


class AugmentConfig(Section):
    """Changes to the frames in training, redrawn in every step."""

    warp: float = Field(0.12, ge=0, lt=1)
    """the mel axis is stretched by up to this share: other speakers"""
    colour: float = Field(0.4, ge=0)
    """deviation of a smooth curve added to the bands, in their own deviations: other microphones"""
    band_masks: int = Field(2, ge=0)
    """masks over mel bands"""
    band_width: int = Field(6, ge=0)
    """bands in the widest of them"""
    time_masks: int = Field(2, ge=0)
    """masks over time"""
    time_width: float = Field(0.05, ge=0, le=1)
    """the longest of them, as a share of the utterance"""


class DecodeConfig(Section):
    """From probabilities to text."""

    beam: int = Field(8, ge=0)
    """prefixes kept by the search; 0: greedy, the best path"""
    lexicon: Annotated[bool, Only("decode.beam!=0")] = True
    """the search writes only words of the training transcripts; switch it off for open text"""


class SpeechConfig(Config):
    """A speech recogniser."""

    data: SpeechData = SpeechData()
    model: SpeechModel = SpeechModel()
    train: SpeechTrain = SpeechTrain()
    optimizer: SpeechOptimizer = SpeechOptimizer()
    augment: AugmentConfig = AugmentConfig()
    decode: DecodeConfig = DecodeConfig()


DEFAULT = SpeechConfig()
FSDD = ["data.source=fsdd", "data.perturb=2", "train.batch=20"]
PRESETS = {
    "default": DEFAULT,
    "smoke": DEFAULT.override(["data.utterances=120", "model.hidden=32", "model.layers=1", "train.epochs=2"]),
    "streaming": DEFAULT.override(["model.bidirectional=false", "data.level=false", "model.hidden=160"]),
    "fsdd": DEFAULT.override(FSDD),
    "fsdd-strings": DEFAULT.override(["data.source=fsdd", "data.join=5"]),
    "fsdd-unheard": DEFAULT.override([*FSDD, "data.held_out=theo", "augment.colour=0.8"]),
}
