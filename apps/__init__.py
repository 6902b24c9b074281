"""The applications, one folder each; see `core.app` for how they are found."""
