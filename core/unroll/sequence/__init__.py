"""Sequence processing shared by applications: batching, vocabularies, decoding, losses, metrics."""

from typing import TYPE_CHECKING

from unroll.lazy import lazily

if TYPE_CHECKING:
    from unroll.sequence.attention import Attention, Memory
    from unroll.sequence.batching import BucketSampler, loader, pad
    from unroll.sequence.beam import beam_search, no_repeats
    from unroll.sequence.ctc import Lexicon
    from unroll.sequence.decoding import (
        Hypothesis,
        Sampling,
        mean_probability,
        restrict,
        sample,
        sample_texts,
        until_stop,
    )
    from unroll.sequence.losses import (
        AdaptiveSoftmax,
        MixtureOfSoftmaxes,
        Softmax,
        linear_cross_entropy,
        linear_surprisal,
    )
    from unroll.sequence.metrics import Errors, corpus_errors
    from unroll.sequence.pooling import Pooling
    from unroll.sequence.ranking import Ranking, rank
    from unroll.sequence.resumable_sampler import EpochSampler, dataset_of, resumable
    from unroll.sequence.sampling import PopularitySampler
    from unroll.sequence.sessions import SessionParallel
    from unroll.sequence.spelling import Spelling
    from unroll.sequence.stream import TokenWriter, Window, open_tokens, stream_loader
    from unroll.sequence.text import Vocabulary
    from unroll.sequence.tokens import Tokeniser
    from unroll.sequence.vectors import Vectors, read_vectors

__all__ = [
    "AdaptiveSoftmax",
    "Attention",
    "BucketSampler",
    "EpochSampler",
    "Errors",
    "Hypothesis",
    "Lexicon",
    "Memory",
    "MixtureOfSoftmaxes",
    "Pooling",
    "PopularitySampler",
    "Ranking",
    "Sampling",
    "SessionParallel",
    "Softmax",
    "Spelling",
    "TokenWriter",
    "Tokeniser",
    "Vectors",
    "Vocabulary",
    "Window",
    "beam_search",
    "corpus_errors",
    "dataset_of",
    "linear_cross_entropy",
    "linear_surprisal",
    "loader",
    "mean_probability",
    "no_repeats",
    "open_tokens",
    "pad",
    "rank",
    "read_vectors",
    "restrict",
    "resumable",
    "sample",
    "sample_texts",
    "stream_loader",
    "until_stop",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "attention": ("Attention", "Memory"),
        "batching": ("BucketSampler", "loader", "pad"),
        "beam": ("beam_search", "no_repeats"),
        "ctc": ("Lexicon",),
        "decoding": (
            "Hypothesis",
            "Sampling",
            "mean_probability",
            "restrict",
            "sample",
            "sample_texts",
            "until_stop",
        ),
        "losses": ("AdaptiveSoftmax", "MixtureOfSoftmaxes", "Softmax", "linear_cross_entropy", "linear_surprisal"),
        "metrics": ("Errors", "corpus_errors"),
        "pooling": ("Pooling",),
        "ranking": ("Ranking", "rank"),
        "resumable_sampler": ("EpochSampler", "dataset_of", "resumable"),
        "sampling": ("PopularitySampler",),
        "sessions": ("SessionParallel",),
        "spelling": ("Spelling",),
        "stream": ("TokenWriter", "Window", "open_tokens", "stream_loader"),
        "text": ("Vocabulary",),
        "tokens": ("Tokeniser",),
        "vectors": ("Vectors", "read_vectors"),
    },
)
