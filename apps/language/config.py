"""The settings."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from unroll.config import Config, DataConfig, ModelConfig, OptimizerConfig, TrainConfig

from .options import Adaptation, Generation
from .sources import READS


class LanguageData(DataConfig):
    """The text and its tokenisation."""

    sources: ClassVar = READS
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


class LanguageConfig(Config):
    """The settings of a language model."""

    window_setting = "train.window"

    data: LanguageData = LanguageData()
    model: LanguageModel = LanguageModel(layers=1)
    train: LanguageTrain = LanguageTrain(epochs=10)
    optimizer: OptimizerConfig = OptimizerConfig(lr=0.01, schedule="cosine", warmup=0.05)
    evaluate: Adaptation = Adaptation()
    generate: Generation = Generation()

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.model.cutoffs and self.model.mixtures > 1:
            raise ValueError("model.cutoffs and model.mixtures: choose adaptive softmax or a mixture of softmaxes")
        return self
