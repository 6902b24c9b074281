"""The gradient through time of a trained or a fresh model: probes, verdict, remedies and their trials."""
