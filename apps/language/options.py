"""How a language model writes and how it reads: what it carries beside its weights, from the configuration."""

from dataclasses import dataclass, field

from unroll.sequence.decoding import Sampling


@dataclass(frozen=True)
class Generation:
    """How text is written; see `unroll.apps.language.config.GenerateConfig`."""

    length: int = 400
    sampling: Sampling = field(default_factory=Sampling)
    stop: tuple[str, ...] = ()
    beam: int = 0
    length_penalty: float = 0.0
    block_repeats: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Adaptation:
    """What is reported beside the plain figure; see `unroll.apps.language.config.EvaluateConfig`."""

    cache: int = 0
    cache_weight: float = 0.1
    cache_flatness: float = 1.0
    dynamic: float = 0.0
    dynamic_decay: float = 0.002
