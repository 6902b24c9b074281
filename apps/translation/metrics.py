"""How good translations are: sacrebleu's BLEU and chrF, NLTK's BLEU for comparison, and common failures."""

from collections.abc import Sequence

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

TOKENISERS = {"zh": "zh", "yue": "zh", "ja": "char", "th": "char", "lo": "char", "km": "char", "my": "char"}
"""sacrebleu's tokenisers for languages without spaces between words; for all others 13a"""


def measure(references: Sequence[str], predictions: Sequence[str], language: str) -> tuple[dict[str, float], str]:
    """Metrics of detokenised texts that are no means over sentences, and sacrebleu's signatures.

    bleu, chrf and nltk_bleu are in percent; length_ratio counts sacrebleu's tokens, and NLTK's BLEU uses them too.
    Both BLEUs agree if all sentences have at least four tokens; for a shorter one NLTK counts a missing n-gram as one
    that does not match, so that even perfect translations of short sentences score below 100.

    Args:
        language: of the references, by its CLDR name; it decides how BLEU splits words.
    """
    bleu, chrf = BLEU(tokenize=TOKENISERS.get(language.partition("_")[0], "13a")), CHRF()
    scored = bleu.corpus_score(predictions, [references])
    metrics = {
        "bleu": scored.score,
        "chrf": chrf.corpus_score(predictions, [references]).score,
        "nltk_bleu": 100 * _nltk(bleu, references, predictions),
        "length_ratio": scored.sys_len / max(scored.ref_len, 1),
    }
    return metrics, f"bleu {bleu.get_signature()} chrf {chrf.get_signature()}"


def _nltk(bleu: BLEU, references: Sequence[str], predictions: Sequence[str]) -> float:
    from nltk.translate.bleu_score import SmoothingFunction, corpus_bleu  # not at the top: predicting needs no NLTK

    split = [[bleu.tokenizer(text).split() for text in texts] for texts in (references, predictions)]
    # The least smoothing: with none, NLTK warns when an n-gram length never matches.
    smooth = SmoothingFunction().method1
    return float(corpus_bleu([[reference] for reference in split[0]], split[1], smoothing_function=smooth))


def sentence_scores(references: Sequence[str], predictions: Sequence[str]) -> list[float]:
    """chrF of each sentence, in percent."""
    chrf = CHRF()
    return [chrf.sentence_score(a, [b]).score for a, b in zip(predictions, references, strict=True)]
