"""Runs as if from a store, created without one."""

from unroll.tracking import Logged


def logged(number: int, value: float | None = None, metric: str = "test/wer", **more) -> Logged:
    """A finished run; `cell`, `seed`, `digest`, `signature`, `status`, `params`, `metrics`, `tags` may be given."""
    params = {
        "model.cell": more.get("cell", "lstm"),
        "train.seed": str(more.get("seed", number)),
        "optimizer.lr": "0.1",
    }
    tags = {
        "data.digest": more.get("digest", "d" * 64),
        "signature.test": more.get("signature", "wer|v1"),
        "means.test": '{"wer": {"numerator": "score", "weight": "", "share": true}}',
    }
    return Logged(
        f"{number:032d}", f"run-{number}", more.get("status", "FINISHED"), float(number), 10.0,
        params | more.get("params", {}), ({} if value is None else {metric: value}) | more.get("metrics", {}),
        tags | more.get("tags", {}),
    )  # fmt: skip
