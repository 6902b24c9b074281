"""The settings and presets."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from unroll.config import Config, DataConfig, ModelConfig, OptimizerConfig, Section, TrainConfig
from unroll.reads import Only, Reads, patterns


class SpeechData(DataConfig):
    """The recordings and their features."""

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
    """builtin: digit strings spoken by espeak-ng; fsdd: Free Spoken Digit Dataset; folder: your own (see path)"""
    utterances: int = Field(3000, ge=10)
    """builtin: number of training utterances; val and test have a tenth and a fifth as many, in other voices"""
    seed: Annotated[int, Only("data.source=builtin", "data.join", "data.perturb")] = Field(0, ge=0)
    """random seed of the data"""
    held_out: str = ""
    """fsdd: speaker to hold out for testing; empty: the publisher's split"""
    join: int = Field(1, ge=1)
    """fsdd: number of recordings concatenated into one utterance"""
    perturb: int = Field(0, ge=0)
    """augmentation: noisy copies of each train and val utterance at other speeds (and so pitches)"""
    rate: int = Field(8000, ge=4000, le=48000)
    """sampling rate, in Hz, to resample recordings to"""
    bands: int = Field(40, ge=4, le=128)
    """number of mel bands"""
    level: bool = True
    """normalise each recording to the same mean power; needs the whole recording, so not for streaming"""
    units: Literal["characters", "words"] = "characters"
    """output units of the model"""


class SpeechModel(ModelConfig):
    """The network."""

    bidirectional: bool = True
    """read in both directions; a model that streams needs one"""
    stack: int = Field(3, ge=1)
    """frame stacking: number of 10 ms frames per step"""
    dropout: float = Field(0.1, ge=0, lt=1)
    """dropout rate between layers"""


class SpeechTrain(TrainConfig):
    """Length, precision and seed of the training."""

    batch: float = Field(40.0, gt=0)
    """seconds of audio per batch, padding included"""


class AugmentConfig(Section):
    """Augmentation of the frames in training, sampled again at every step."""

    warp: float = Field(0.12, ge=0, lt=1)
    """vocal tract length perturbation: stretch the mel axis by up to this fraction, to imitate other speakers"""
    colour: float = Field(0.4, ge=0)
    """standard deviation of a smooth curve added to the normalised bands, to imitate other microphones"""
    band_masks: int = Field(2, ge=0)
    """SpecAugment: number of frequency masks"""
    band_width: int = Field(6, ge=0)
    """SpecAugment: maximum width of a frequency mask, in bands"""
    time_masks: int = Field(2, ge=0)
    """SpecAugment: number of time masks"""
    time_width: float = Field(0.05, ge=0, le=1)
    """SpecAugment: maximum length of a time mask, as a fraction of the utterance"""


class DecodeConfig(Section):
    """How probabilities are decoded into text."""

    beam: int = Field(8, ge=0)
    """beam width of the prefix search; 0: greedy, the best path"""
    lexicon: Annotated[bool, Only("decode.beam!=0")] = True
    """restrict the search to words of the training transcripts; switch off for open vocabulary"""


class SpeechConfig(Config):
    """The settings of a speech recogniser."""

    data: SpeechData = SpeechData()
    model: SpeechModel = SpeechModel(cell="gru", hidden=96, layers=2)
    train: SpeechTrain = SpeechTrain(epochs=10)
    optimizer: OptimizerConfig = OptimizerConfig(lr=3e-3, schedule="cosine", warmup=0.1)
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
