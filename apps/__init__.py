"""The applications, one folder each; see `unroll.app` for how they are found."""
