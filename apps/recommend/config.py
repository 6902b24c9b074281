"""Everything one may change."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from unroll.config import Config, DataConfig, ModelConfig, OptimizerConfig, Section, TrainConfig
from unroll.reads import Only, Reads, patterns


class ColumnNames(Section):
    """What the user's table calls its columns, where that is none of the usual names."""

    session: Annotated[str, Only("data.source=csv")] = ""
    """csv: the column that says which clicks belong together"""
    user: Annotated[str, Only("data.source=csv")] = ""
    """csv: the column of users, whose whole history is one session then"""
    item: Annotated[str, Only("data.source=csv")] = ""
    """csv: the column of what was clicked, in the table of items as well"""
    time: Annotated[str, Only("data.source=csv")] = ""
    """csv: the column of when it was clicked"""
    title: Annotated[str, Only("data.source=csv")] = ""
    """csv: the column of titles in the table of items"""


class RecommendData(DataConfig):
    """The clicks, and how they are split."""

    sources: ClassVar = {
        "builtin": Reads(("sessions", "seed")),
        "ml-100k": Reads(),
        "ml-1m": Reads(path="the unpacked folder of ml-1m.zip", folders=("ratings.dat",)),
        "csv": Reads(
            ("items",),
            path="a table of clicks, CSV, JSON Lines or Parquet",
            files=patterns("csv", "tsv", "tab", "txt", "jsonl", "ndjson", "json", "parquet"),
        ),
    }
    source: Literal["builtin", "ml-100k", "ml-1m", "csv"] = "builtin"
    """builtin: a planted process; ml-100k, ml-1m: MovieLens; csv: your own table, CSV, Parquet or others (see path)"""
    items: Path | None = None
    """csv: a table of items: item, title, and any columns of text or numbers, which are features"""
    columns: ColumnNames = ColumnNames()
    """csv: what the columns are called"""
    split: Literal["auto", "leave-one-out", "time"] = "auto"
    """test on the last click of each user, or on the last days; auto: time for sessions, leave-one-out for users"""
    days: Annotated[float, Only("data.split=time,auto")] = Field(1.0, gt=0)
    """split=time: days of the test period; as many before it are val"""
    support: int = Field(1, ge=1)
    """clicks in training that an item needs to be recommended"""
    features: bool = False
    """use what is known of the items, and recommend also items without a click"""
    sessions: int = Field(50_000, ge=100)
    """builtin: sessions to train on; a twentieth and a tenth as many for val and test"""
    seed: int = Field(0, ge=0)
    """builtin: of the process and the sessions"""


class RecommendModel(ModelConfig):
    """The network."""

    cell: str = "gru"
    """recurrent cell, by its name in unroll.recurrence"""
    hidden: int = Field(128, ge=1)
    """hidden units per layer, and width of the item vectors"""
    shared: bool = True
    """items have the same vectors on the way in and on the way out"""
    dropout: float = Field(0.2, ge=0, lt=1)
    """share of units dropped behind each recurrent layer"""
    dropout_input: float = Field(0.1, ge=0, lt=1)
    """share of units of the clicked item's vector that are dropped"""
    gaps: bool = False
    """the time since the click before is an input"""
    cold: Annotated[float, Only("data.features=true")] = Field(0.2, ge=0, lt=1)
    """with features: how often an item's own vector is left out in training, so that they learn to stand for it"""


class LossConfig(Section):
    """What training minimises."""

    name: Literal["softmax", "sampled-softmax", "bpr-max", "top1-max"] = "softmax"
    """softmax: over all items; the others: over the batch's own next items and sampled ones"""
    samples: Annotated[int, Only("loss.name!=softmax")] = Field(2048, ge=0)
    """items drawn for each batch"""
    alpha: Annotated[float, Only("loss.name!=softmax")] = Field(0.5, ge=0)
    """items are drawn with probability proportional to clicks ** alpha"""
    logq: Annotated[bool, Only("loss.name=sampled-softmax")] = True
    """sampled-softmax: correct for how often an item is a candidate"""
    penalty: Annotated[float, Only("loss.name=bpr-max")] = Field(1.0, ge=0)
    """bpr-max: weight of the squared scores of negatives"""
    elu: Annotated[float, Only("loss.name=bpr-max,top1-max")] = Field(0.0, ge=0)
    """bpr-max, top1-max: scores below zero flatten out at minus this; 0: they do not"""


class RecommendTrain(TrainConfig):
    """How long, how exactly, from which seed."""

    epochs: int = Field(5, ge=0)
    """passes over the training split; 0: as many as train.minutes has time for"""
    mode: Literal["sessions", "padded"] = "sessions"
    """sessions: parallel rows of one session after the other; padded: whole sessions of similar length"""
    rows: int = Field(64, ge=1)
    """sessions side by side"""
    steps: int = Field(16, ge=1)
    """clicks of each row in a batch, and how far gradients go back; padded: rows x steps is the size of a batch"""


class RecommendOptimizer(OptimizerConfig):
    """The optimiser, its schedule and the bound on the gradient."""

    lr: float = Field(4e-3, gt=0)
    """peak learning rate"""
    schedule: Literal["constant", "cosine", "linear", "plateau", "decay"] = "cosine"
    """learning rate after the warm-up; plateau quarters it when the validation score stalls; decay: see there"""
    warmup: float = Field(0.05, ge=0, lt=1)
    """share of all steps over which the learning rate rises from zero"""


class DecodeConfig(Section):
    """From scores to recommendations."""

    k: int = Field(10, ge=1)
    """items recommended"""
    exclude_seen: bool = False
    """leave out what the session has clicked already, in evaluations too"""
    sampled: int = Field(0, ge=0)
    """also rank among this many random items; such figures are not comparable with full ranking, and named so"""


class RecommendConfig(Config):
    """A recommender."""

    data: RecommendData = RecommendData()
    model: RecommendModel = RecommendModel()
    loss: LossConfig = LossConfig()
    train: RecommendTrain = RecommendTrain()
    optimizer: RecommendOptimizer = RecommendOptimizer()
    decode: DecodeConfig = DecodeConfig()


DEFAULT = RecommendConfig()
GRU4REC = [
    "model.hidden=480", "model.dropout=0.2", "model.dropout_input=0", "loss.name=sampled-softmax", "loss.samples=2048",
    "loss.alpha=0.2", "train.rows=48", "train.steps=1", "train.epochs=10", "optimizer.name=adagrad",
    "optimizer.lr=0.07", "optimizer.schedule=constant", "optimizer.warmup=0", "optimizer.clip=0",
]  # fmt: skip
MOVIELENS = ["data.source=ml-100k", "decode.exclude_seen=true"]
PRESETS = {
    "default": DEFAULT,
    "smoke": DEFAULT.override(["data.sessions=2000", "model.hidden=64", "train.epochs=3"]),
    "ml-100k": DEFAULT.override([*MOVIELENS, "train.epochs=10"]),
    "gru4rec": DEFAULT.override([*MOVIELENS, *GRU4REC]),
}
