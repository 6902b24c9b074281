"""Everything one may change."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from unroll.config import Config, DataConfig, ModelConfig, OptimizerConfig, Section, TrainConfig
from unroll.reads import Only, Reads, patterns


class TranslationData(DataConfig):
    """The pairs, and how sentences are cut up."""

    sources: ClassVar = {
        "builtin": Reads(("sentences", "seed")),
        "multi30k": Reads(("test",), path="a copy of Multi30k's folder raw", folders=("train.*.gz",)),
        "tsv": Reads(path="a table of two columns, a tab between them", files=patterns("tsv", "tab", "txt")),
        "csv": Reads(path="a table of two columns", files=patterns("csv")),
        "jsonl": Reads(path="a JSON object on each line", files=patterns("jsonl", "ndjson", "json")),
        "parallel": Reads(
            ("target_path",), path="a file of sentences, with data.target_path, that of their translations",
            files=("*",), needs=("target_path",),
        ),
    }  # fmt: skip
    source: Literal["builtin", "multi30k", "tsv", "csv", "jsonl", "parallel"] = "builtin"
    """builtin: CLDR's dates and names; multi30k; tsv, csv, jsonl: your own table; parallel: two files line by line"""
    source_locale: str = "en"
    """language that is translated from, as CLDR names it (de, pt_BR, zh_Hans)"""
    target_locale: str = "de"
    """language that is translated into"""
    sentences: int = Field(18000, ge=10)
    """builtin: pairs to train on; 1 in 40 and 1 in 20 as many for val and test"""
    seed: int = Field(0, ge=0)
    """builtin: of everything that is drawn in making the pairs"""
    test: str = "test_2016_flickr"
    """multi30k: which of its test sets; invoke evaluate --set data.test=test_2017_flickr"""
    target_path: Path | None = None
    """parallel: the file of the translations, line by line those of data.path"""
    units: Literal["pieces", "characters", "words"] = "pieces"
    """what a sentence is read in; pieces: byte-pair encoding"""
    vocabulary: int = Field(1000, ge=300)
    """pieces, characters or words that each language has at most"""
    joint: bool = False
    """one vocabulary for both languages together"""
    longest: int = Field(200, ge=1)
    """tokens of a sentence at most; what is beyond is cut off, with a note"""


class TranslationModel(ModelConfig):
    """The network."""

    cell: str = "gru"
    """recurrent cell of encoder and decoder, by its name in unroll.recurrence"""
    hidden: int = Field(128, ge=1)
    """hidden units of the encoder per layer and direction; the decoder has twice as many"""
    embedding: int = Field(128, ge=1)
    """features of a token's vector"""
    attention: Literal["general", "additive", "dot", "multihead"] = "general"
    """how a decoder state is compared with the source's"""
    heads: Annotated[int, Only("model.attention=multihead")] = Field(4, ge=1)
    """multihead: how many"""
    coverage: bool = False
    """attention also knows how much of it each source token had before; a loop over time"""
    feeding: bool = False
    """what attention found is an input of the next step (input feeding); a loop over time"""
    scaled: bool = True
    """embeddings enter the recurrence times the square root of their size"""
    tied: Literal["none", "target", "all"] = "target"
    """target: output layer and target embedding share weights; all: the source embedding as well (data.joint)"""
    dropout: float = Field(0.0, ge=0, lt=1)
    """share of features dropped, the same in all steps: of embeddings, source states and output"""
    word_dropout: float = Field(0.0, ge=0, lt=1)
    """share of tokens whose embedding is dropped as a whole"""


class TranslationTrain(TrainConfig):
    """How long, how exactly, from which seed."""

    epochs: int = Field(4, ge=0)
    """passes over the training split; 0: as many as train.minutes has time for"""
    batch: int = Field(400, ge=1)
    """tokens in a batch, of the longer side, padding included"""
    smoothing: float = Field(0.0, ge=0, lt=1)
    """label smoothing: share of the wanted distribution that is spread over all tokens"""
    scheduled: float = Field(0.0, ge=0, lt=1)
    """scheduled sampling: share of the decoder's inputs that are its own guesses"""


class TranslationOptimizer(OptimizerConfig):
    """The optimiser, its schedule and the bound on the gradient."""

    lr: float = Field(2e-3, gt=0)
    """peak learning rate"""
    schedule: Literal["constant", "cosine", "linear", "plateau", "decay"] = "cosine"
    """learning rate after the warm-up"""
    warmup: float = Field(0.05, ge=0, lt=1)
    """share of all steps over which the learning rate rises from zero"""


class DecodeConfig(Section):
    """How a translation is chosen. None of this changes the weights."""

    beam: Annotated[int, Only("decode.sample=false")] = Field(5, ge=1)
    """texts kept at each step; 1: the best token only"""
    length_penalty: Annotated[float, Only("decode.sample=false")] = Field(1.0, ge=0)
    """exponent of the length that log probabilities are divided by"""
    coverage_penalty: Annotated[float, Only("decode.sample=false")] = Field(0.0, ge=0)
    """weight of the penalty for parts of the source that were not looked at (Wu et al. 2016)"""
    n_best: int = Field(1, ge=1)
    """translations given for each sentence"""
    no_repeat: Annotated[int, Only("decode.sample=false")] = Field(0, ge=0)
    """no n-gram of this length may occur twice in a translation; 0: no limit"""
    sample: bool = False
    """draw translations, instead of searching for the best"""
    temperature: Annotated[float, Only("decode.sample=true")] = Field(1.0, gt=0)
    """sample: p^(1/temperature)"""
    top_k: Annotated[int, Only("decode.sample=true")] = Field(0, ge=0)
    """sample: top-k: only the k most probable tokens; 0: all"""
    top_p: Annotated[float, Only("decode.sample=true")] = Field(1.0, gt=0, le=1)
    """sample: only the most probable tokens that together have this probability"""
    seed: Annotated[int, Only("decode.sample=true")] = Field(0, ge=0)
    """sample: of what is drawn"""


class TranslationConfig(Config):
    """A translator."""

    data: TranslationData = TranslationData()
    model: TranslationModel = TranslationModel()
    train: TranslationTrain = TranslationTrain()
    optimizer: TranslationOptimizer = TranslationOptimizer()
    decode: DecodeConfig = DecodeConfig()

    @model_validator(mode="after")
    def _sharing(self) -> Self:
        if self.model.tied == "all" and not self.data.joint:
            raise ValueError("model.tied=all needs one vocabulary for both languages: set data.joint=true")
        return self


DEFAULT = TranslationConfig()
PRESETS = {
    "default": DEFAULT,
    "multi30k": DEFAULT.override(
        [
            "data.source=multi30k",
            "data.vocabulary=4000",
            "model.hidden=256",
            "model.embedding=256",
            "model.dropout=0.3",
            "model.word_dropout=0.1",
            "model.scaled=false",
            "train.smoothing=0.1",
            "train.epochs=24",
            "train.minutes=45",
            "train.batch=1200",
            "train.precision=bf16-mixed",
            "optimizer.lr=0.002",
            "optimizer.average=0.998",
        ]
    ),
    "smoke": DEFAULT.override(
        ["data.sentences=1000", "data.vocabulary=500", "model.hidden=48", "model.embedding=48", "train.epochs=3"]
    ),
}
