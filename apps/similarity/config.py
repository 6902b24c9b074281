"""Everything one may change."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from unroll.config import Config, DataConfig, ModelConfig, OptimizerConfig, Section, TrainConfig
from unroll.reads import Only, Reads, patterns

Pooled = Literal["last", "mean", "max", "attention"]


class SimilarityData(DataConfig):
    """The pairs, and how sentences are cut up."""

    sources: ClassVar = {
        "builtin": Reads(("pairs", "seed")),
        "sick": Reads(path="SICK.txt, or its folder", files=("sick.txt",), folders=("sick.txt",)),
        "stsb": Reads(path="the folder of sts-train.csv", folders=("sts-train.csv",)),
        "quora": Reads(
            path="quora_duplicate_questions.tsv, or its folder",
            files=("quora_duplicate_questions.tsv",),
            folders=("quora_duplicate_questions.tsv",),
        ),
        "csv": Reads(
            ("columns", "low", "high"),
            path="a table of pairs",
            files=patterns("csv", "tsv", "tab", "txt", "jsonl", "ndjson", "json"),
        ),
    }
    source: Literal["builtin", "sick", "stsb", "quora", "csv"] = "builtin"
    """builtin: scenes; sick: SICK; stsb: the STS benchmark; quora: question pairs; csv: your own (see path)"""
    pairs: int = Field(12000, ge=10)
    """builtin: pairs to train on; a tenth and a fifth as many for val and test"""
    seed: int = Field(0, ge=0)
    """builtin: of everything that is drawn in making the pairs"""
    units: Literal["words", "characters", "pieces"] = "words"
    """what a sentence is read in; pieces: byte-pair encoding"""
    vocabulary: int = Field(50000, ge=2)
    """words, characters or pieces known at most, the most frequent of the training pairs"""
    vectors: Path | None = None
    """your own word vectors (GloVe's or word2vec's text format, plain or gzip) to start from"""
    columns: tuple[str, str, str] = ("a", "b", "score")
    """csv: names of the columns of first sentence, second sentence and score"""
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
    """features of a word's vector; with data.vectors, theirs"""
    bidirectional: bool = True
    """two directions or one"""
    pooling: tuple[Pooled, ...] = Field(("max",), min_length=1)
    """from the states to one vector; several are put side by side: '["mean", "max"]'"""
    bag: bool = False
    """put the mean of the words' vectors beside the pooled states"""
    spelling: bool = False
    """embed words by their letters as well (pieces of 3 to 5)"""
    head: Literal["manhattan", "cosine", "regression", "distribution"] = "regression"
    """manhattan: MaLSTM; cosine; regression, distribution: on |u-v| and u*v, with one number or five classes out"""
    dropout: float = Field(0.0, ge=0, lt=1)
    """share of features dropped: of words, between layers, in the head"""
    word_dropout: float = Field(0.0, ge=0, lt=1)
    """share of words replaced by the unknown one in training"""
    weight_drop: float = Field(0.0, ge=0, lt=1)
    """share of recurrent weights dropped"""


class SimilarityTrain(TrainConfig):
    """How long, how exactly, from which seed."""

    epochs: int = Field(6, ge=0)
    """passes over the training split; 0: as many as train.minutes has time for"""
    batch: int = Field(1200, ge=1)
    """tokens of the first sentences in a batch, padding included; of the second ones as many"""
    entailment: float = Field(0.0, ge=0)
    """weight of the entailment task's loss beside the score's; 0: no such task"""


class SimilarityOptimizer(OptimizerConfig):
    """The optimiser, its schedule and the bound on the gradient."""

    lr: float = Field(3e-3, gt=0)
    """peak learning rate"""
    schedule: Literal["constant", "cosine", "linear", "plateau", "decay"] = "cosine"
    """learning rate after the warm-up"""
    warmup: float = Field(0.05, ge=0, lt=1)
    """share of all steps over which the learning rate rises from zero"""


class PredictConfig(Section):
    """What `invoke predict` does."""

    rank: bool = False
    """rank sentences by their similarity to the first input, instead of scoring pairs"""
    top: Annotated[int, Only("predict.rank=true")] = Field(10, ge=1)
    """how many of them are shown"""


class SimilarityConfig(Config):
    """A model of sentence similarity."""

    data: SimilarityData = SimilarityData()
    model: SimilarityModel = SimilarityModel()
    train: SimilarityTrain = SimilarityTrain()
    optimizer: SimilarityOptimizer = SimilarityOptimizer()
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
