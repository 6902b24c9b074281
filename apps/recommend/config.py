"""The settings and presets."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from unroll.config import Config, DataConfig, ModelConfig, OptimizerConfig, Section, TrainConfig
from unroll.reads import Only, Reads, patterns

from .options import Decoding


class ColumnNames(Section):
    """Column names of the user's table, if they are not the usual ones."""

    session: Annotated[str, Only("data.source=csv")] = ""
    """csv: column of the session id"""
    user: Annotated[str, Only("data.source=csv")] = ""
    """csv: column of the user id; a user's whole history is then one session"""
    item: Annotated[str, Only("data.source=csv")] = ""
    """csv: column of the clicked item, also in the table of items"""
    time: Annotated[str, Only("data.source=csv")] = ""
    """csv: column of the time of the click"""
    title: Annotated[str, Only("data.source=csv")] = ""
    """csv: column of titles in the table of items"""


class RecommendData(DataConfig):
    """The clicks and how they are split."""

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
    """builtin: a synthetic process; ml-100k, ml-1m: MovieLens; csv: your own table (CSV, Parquet, ...; see path)"""
    items: Path | None = None
    """csv: table of items: item, title, and columns of text or numbers to use as features"""
    columns: ColumnNames = ColumnNames()
    """csv: names of the columns"""
    split: Literal["auto", "leave-one-out", "time"] = "auto"
    """test on each user's last click, or on the last days; auto: time for sessions, leave-one-out for users"""
    days: Annotated[float, Only("data.split=time,auto")] = Field(1.0, gt=0)
    """split=time: length of the test period in days; the same length before it is val"""
    support: int = Field(1, ge=1)
    """minimum number of training clicks for an item to be recommended"""
    features: bool = False
    """use item features, and also recommend items without a click"""
    sessions: int = Field(50_000, ge=100)
    """builtin: number of training sessions; val and test have a twentieth and a tenth as many"""
    seed: int = Field(0, ge=0)
    """builtin: random seed of the process and the sessions"""


class RecommendModel(ModelConfig):
    """The network."""

    hidden: int = Field(128, ge=1)
    """hidden units per layer, and size of the item vectors"""
    shared: bool = True
    """weight tying: input and output share the item vectors"""
    dropout: float = Field(0.2, ge=0, lt=1)
    """dropout rate after each recurrent layer"""
    dropout_input: float = Field(0.1, ge=0, lt=1)
    """dropout rate on the input item vectors"""
    gaps: bool = False
    """use the time since the previous click as an input"""
    cold: Annotated[float, Only("data.features=true")] = Field(0.2, ge=0, lt=1)
    """features: how often an item's own vector is dropped in training, so that its features learn to replace it"""


class LossConfig(Section):
    """The training loss."""

    name: Literal["softmax", "sampled-softmax", "bpr-max", "top1-max"] = "softmax"
    """softmax: over all items; others: over the batch's own next items and sampled negatives"""
    samples: Annotated[int, Only("loss.name!=softmax")] = Field(2048, ge=0)
    """number of negatives sampled per batch"""
    alpha: Annotated[float, Only("loss.name!=softmax")] = Field(0.5, ge=0)
    """negatives are sampled with probability proportional to clicks ** alpha"""
    logq: Annotated[bool, Only("loss.name=sampled-softmax")] = True
    """sampled-softmax: logQ correction for how often an item is a candidate"""
    penalty: Annotated[float, Only("loss.name=bpr-max")] = Field(1.0, ge=0)
    """bpr-max: weight of the squared scores of negatives"""
    elu: Annotated[float, Only("loss.name=bpr-max,top1-max")] = Field(0.0, ge=0)
    """bpr-max, top1-max: apply an ELU to the scores, which bounds them below by minus this; 0: no ELU"""


class RecommendTrain(TrainConfig):
    """Length, precision and seed of the training."""

    mode: Literal["sessions", "padded"] = "sessions"
    """sessions: parallel rows, each of consecutive sessions; padded: whole sessions of similar length"""
    rows: int = Field(64, ge=1)
    """number of parallel sessions"""
    steps: int = Field(16, ge=1)
    """clicks per row in a batch, the truncation length of backpropagation; padded: rows x steps is the batch size"""


class RecommendConfig(Config):
    """The settings of a recommender."""

    data: RecommendData = RecommendData()
    model: RecommendModel = RecommendModel(cell="gru")
    loss: LossConfig = LossConfig()
    train: RecommendTrain = RecommendTrain(epochs=5)
    optimizer: OptimizerConfig = OptimizerConfig(lr=4e-3, schedule="cosine", warmup=0.05)
    decode: Decoding = Decoding()


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
