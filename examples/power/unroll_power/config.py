"""The settings, shared by all applications on records. Inherit from RecordsConfig to add your own."""

from unroll.jsonl_app import RecordsConfig

DEFAULT = RecordsConfig().override(
    ["model.cell=gru", "model.hidden=64", "train.epochs=12", "optimizer.lr=0.005", "optimizer.schedule=cosine"]
)
PRESETS = {
    "default": DEFAULT,
    "smoke": DEFAULT.override(["data.examples=200", "model.hidden=16", "train.epochs=2"]),
}
