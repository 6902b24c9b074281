"""The settings and presets."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from unroll.config import Config, DataConfig, ModelConfig, OptimizerConfig, Section, TrainConfig
from unroll.reads import Only

from .sources import READS

Pooled = Literal["last", "mean", "max", "attention"]


class SimilarityData(DataConfig):
    """The pairs and their tokenisation."""

    sources: ClassVar = READS
    source: Literal["builtin", "sick", "stsb", "quora", "csv"] = "builtin"
    """builtin: scenes; sick: SICK; stsb: the STS benchmark; quora: question pairs; csv: your own (see path)"""
    pairs: int = Field(12000, ge=10)
    """builtin: number of training pairs; val and test have a tenth and a fifth as many"""
    seed: int = Field(0, ge=0)
    """builtin: random seed of the pairs"""
    units: Literal["words", "characters", "pieces"] = "words"
    """unit of a token; pieces: byte-pair encoding"""
    vocabulary: int = Field(50000, ge=2)
    """maximum vocabulary size: the most frequent words, characters or pieces of the training pairs"""
    vectors: Path | None = None
    """file of word vectors to start from (GloVe or word2vec text format, plain or gzipped)"""
    columns: tuple[str, str, str] = ("a", "b", "score")
    """csv: column names of the first sentence, the second sentence and the score"""
    low: float = 0.0
    """csv: score of sentences that have nothing in common"""
    high: float = 1.0
    """csv: score of sentences that mean the same"""

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"data.low={self.low:g} must be smaller than data.high={self.high:g}")
        return self


class SimilarityModel(ModelConfig):
    """The network."""

    embedding: int = Field(64, ge=1)
    """size of a word embedding; with data.vectors, that of the vectors"""
    bidirectional: bool = True
    """read in both directions"""
    pooling: tuple[Pooled, ...] = Field(("max",), min_length=1)
    """how the states are pooled into one vector; several are concatenated: '["mean", "max"]'"""
    bag: bool = False
    """concatenate the mean of the word vectors (bag of words) with the pooled states"""
    spelling: bool = False
    """also embed words by their character n-grams of length 3 to 5"""
    head: Literal["manhattan", "cosine", "regression", "distribution"] = "regression"
    """manhattan: MaLSTM; cosine; regression, distribution: on |u-v| and u*v, with one output or five classes"""
    dropout: float = Field(0.0, ge=0, lt=1)
    """dropout rate on word embeddings, between layers, and in the head"""
    word_dropout: float = Field(0.0, ge=0, lt=1)
    """fraction of words replaced by the unknown token in training"""
    weight_drop: float = Field(0.0, ge=0, lt=1)
    """DropConnect: fraction of the recurrent weights zeroed"""


class SimilarityTrain(TrainConfig):
    """Length, precision and seed of the training."""

    batch: int = Field(1200, ge=1)
    """tokens per batch, padding included, counted over the first sentences of the pairs"""
    entailment: float = Field(0.0, ge=0)
    """weight of the auxiliary entailment loss; 0: off"""


class PredictConfig(Section):
    """Settings of `invoke predict`."""

    rank: bool = False
    """rank sentences by their similarity to the first input, instead of scoring pairs"""
    top: Annotated[int, Only("predict.rank=true")] = Field(10, ge=1)
    """number of sentences to show"""


class SimilarityConfig(Config):
    """The settings of a sentence-similarity model."""

    data: SimilarityData = SimilarityData()
    model: SimilarityModel = SimilarityModel()
    train: SimilarityTrain = SimilarityTrain(epochs=6)
    optimizer: OptimizerConfig = OptimizerConfig(lr=3e-3, schedule="cosine", warmup=0.05)
    predict: PredictConfig = PredictConfig()


DEFAULT = SimilarityConfig()
PRESETS = {
    "default": DEFAULT,
    # Chosen on the trial split; see the README for what else was tried.
    "sick": DEFAULT.override(
        [
            "data.source=sick",
            "model.head=distribution",
            "model.bag=true",
            "model.spelling=true",
            "model.hidden=100",
            "model.embedding=200",
            "model.dropout=0.15",
            "train.epochs=10",
            "train.batch=700",
            "optimizer.lr=0.002",
        ]
    ),
    "smoke": DEFAULT.override(["data.pairs=600", "model.hidden=32", "model.embedding=32", "train.epochs=3"]),
}
