"""The settings and presets."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from unroll.config import Config, DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from unroll.reads import Only

from .options import Decoding
from .sources import READS


class TranslationData(DataConfig):
    """The sentence pairs and their tokenisation."""

    sources: ClassVar = READS
    source: Literal["builtin", "multi30k", "tsv", "csv", "jsonl", "parallel"] = "builtin"
    """builtin: CLDR's dates and names; multi30k; tsv, csv, jsonl: your own table; parallel: two line-aligned files"""
    source_locale: str = "en"
    """source language, as a CLDR locale (de, pt_BR, zh_Hans)"""
    target_locale: str = "de"
    """target language, as a CLDR locale"""
    sentences: int = Field(18000, ge=10)
    """builtin: number of training pairs; val and test have a fortieth and a twentieth as many"""
    seed: int = Field(0, ge=0)
    """builtin: random seed of the pairs"""
    test: str = "test_2016_flickr"
    """multi30k: name of the test set; for example invoke evaluate --set data.test=test_2017_flickr"""
    target_path: Path | None = None
    """parallel: file of the translations, line by line those of data.path"""
    units: Literal["pieces", "characters", "words"] = "pieces"
    """unit of a token; pieces: byte-pair encoding"""
    vocabulary: int = Field(1000, ge=300)
    """maximum vocabulary size of each language"""
    joint: bool = False
    """share one vocabulary between both languages"""
    longest: int = Field(200, ge=1)
    """maximum number of tokens in a sentence; longer ones are truncated, with a note"""


class TranslationModel(ModelConfig):
    """The network."""

    cell: str = "gru"
    """name of the recurrent cell of encoder and decoder in unroll.recurrence"""
    hidden: int = Field(128, ge=1)
    """hidden units of the encoder per layer and direction; the decoder has twice as many"""
    embedding: int = Field(128, ge=1)
    """size of a token embedding"""
    attention: Literal["general", "additive", "dot", "multihead"] = "general"
    """attention score between decoder and encoder states"""
    heads: Annotated[int, Only("model.attention=multihead")] = Field(4, ge=1)
    """multihead: number of attention heads"""
    coverage: bool = False
    """feed past attention weights into the attention (coverage); needs a loop over time"""
    feeding: bool = False
    """input feeding: feed the attention context into the next step; needs a loop over time"""
    scaled: bool = True
    """scale embeddings by the square root of their size"""
    tied: Literal["none", "target", "all"] = "target"
    """weight tying; target: output layer and target embedding; all: the source embedding as well (needs data.joint)"""
    dropout: float = Field(0.0, ge=0, lt=1)
    """dropout rate on embeddings, source states and output, with the same mask at all steps"""
    word_dropout: float = Field(0.0, ge=0, lt=1)
    """fraction of tokens whose whole embedding is zeroed"""


class TranslationTrain(TrainConfig):
    """Length, precision and seed of the training."""

    batch: int = Field(400, ge=1)
    """tokens per batch, counted on the longer side, padding included"""
    smoothing: float = Field(0.0, ge=0, lt=1)
    """label smoothing: fraction of the target distribution that is spread over all tokens"""
    scheduled: float = Field(0.0, ge=0, lt=1)
    """scheduled sampling: fraction of the decoder's inputs that are its own predictions"""


class TranslationConfig(Config):
    """The settings of a translation model."""

    data: TranslationData = TranslationData()
    model: TranslationModel = TranslationModel()
    train: TranslationTrain = TranslationTrain(epochs=4)
    optimizer: OptimizerConfig = OptimizerConfig(lr=2e-3, schedule="cosine", warmup=0.05)
    decode: Decoding = Decoding()

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
