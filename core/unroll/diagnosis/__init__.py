"""The gradient through time of a trained or untrained model: probes, verdict, remedies and their trials."""

from typing import TYPE_CHECKING

from unroll.lazy import lazily

if TYPE_CHECKING:
    from unroll.diagnosis.examination import Diagnosis, diagnose
    from unroll.diagnosis.probe import Need, NetworkProbe
    from unroll.diagnosis.remedies import Remedy
    from unroll.diagnosis.remedy_trials import Outcome, attempt
    from unroll.diagnosis.verdict import Finding, classify

__all__ = ["Diagnosis", "Finding", "Need", "NetworkProbe", "Outcome", "Remedy", "attempt", "classify", "diagnose"]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "examination": ("Diagnosis", "diagnose"),
        "probe": ("Need", "NetworkProbe"),
        "remedies": ("Remedy",),
        "remedy_trials": ("Outcome", "attempt"),
        "verdict": ("Finding", "classify"),
    },
)
