"""`make demo`: the pipeline on synthetic fish, then a held-out fish segmented over HTTP."""
