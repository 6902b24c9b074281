"""Translation. Only this file and config.py know the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unroll.app import App, Data, Score
from unroll.errors import UserError
from unroll.lazy import deferred

from .config import PRESETS, TranslationConfig

if TYPE_CHECKING:
    from unroll.data.store import Prepared, Store

    from . import data, decode, ensemble, figures, train
    from . import model as translator
    from .sources import Source, builtin, locales, own, published
else:
    data, decode, ensemble, figures, train, translator = deferred(
        __name__, "data", "decode", "ensemble", "figures", "train", "model"
    )
    builtin, locales, own, published = deferred(
        __name__, "sources.builtin", "sources.locales", "sources.own", "sources.published"
    )

__all__ = ["APP"]


def prepare(config: TranslationConfig, store: Store) -> Prepared:
    """Prepare the pairs of the configured source in the store; do nothing if they are there."""
    wanted = config.data
    return data.prepare(
        store, _source(config, store), units=wanted.units, size=wanted.vocabulary, joint=wanted.joint,
        longest=wanted.longest,
    )  # fmt: skip


def batches(config: TranslationConfig, store: Store) -> Data[data.Batch]:
    """Loaders of the splits."""
    return data.batches(prepare(config, store), budget=config.train.batch, seed=config.train.seed)


def model(config: TranslationConfig, facts: dict[str, Any]) -> translator.Translator:
    """The network for data of these facts. Raises UserError for another pair of languages."""
    asked, known = locales.pair(config.data.source_locale, config.data.target_locale), tuple(facts["languages"])
    if asked != known:
        raise UserError(
            f"data.source_locale, data.target_locale: {' to '.join(asked)} was asked for, but this model translates "
            f"{' to '.join(known)}; choose another run"
        )
    source, target = data.tokenisers(facts)
    options = config.model.model_dump()
    return translator.Translator(
        source,
        target,
        known,
        attention_kind=options.pop("attention"),
        smoothing=config.train.smoothing,
        scheduled=config.train.scheduled,
        longest=facts["longest"],
        headline=score_of(config).name,
        decoding=config.decode,
        **options,
    )


def score_of(config: TranslationConfig) -> Score:
    """Exact match for CLDR's sentences, which have one right translation each; BLEU for all others."""
    return Score("exact_match" if config.data.source == "builtin" else "bleu", "max")


def _source(config: TranslationConfig, store: Store) -> Source:
    wanted = config.data
    languages = locales.pair(wanted.source_locale, wanted.target_locale)
    match wanted.source:
        case "builtin":
            return builtin.source(*languages, wanted.sentences, wanted.seed)
        case "multi30k":
            return published.multi30k(store, languages, wanted.test, wanted.path)
        case "tsv" | "csv" | "jsonl":
            return own.table(wanted.path, languages, wanted.source)
        case "parallel":
            return own.parallel(wanted.path, wanted.target_path, languages)


APP: App[TranslationConfig, translator.Translator, data.Batch] = App(
    about="sentences into another language",
    presets=PRESETS,
    prepare=prepare,
    data=batches,
    model=model,
    step=train.step,
    evaluate=train.evaluate,
    predict=decode.predict,
    score=Score("exact_match", "max"),
    score_of=score_of,
    ensemble=ensemble.ensemble,
    examples=("Tuesday, March 3, 2026", "1,234.50 Swiss francs", "Ghana and 3.5 kilometers", "in 12 days"),
    unit="tokens",
    figures=figures.figures,
    read=own.read_lines,
    scores=figures.scores,
)
