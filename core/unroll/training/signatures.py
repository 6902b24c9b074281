"""The text that says everything a metric depends on except the model. Imports no torch: comparing needs none."""

from unroll.app import Data, Report


def signature(report: Report, split: str, data: Data) -> str:
    """Everything that a metric depends on except the model: its computation, the split, the split's rule, the data."""
    return f"{report.signature}|split:{split}, {data.split}|data:{data.digest[:12]}"


def parts(signature: str) -> tuple[str, str]:
    """Parts of a `signature`: (computation of the metric, rule of the split); empty where not given."""
    way, _, rest = signature.partition("|split:")
    return way, rest.rpartition("|data:")[0].partition(", ")[2]
