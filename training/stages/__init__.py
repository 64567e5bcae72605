"""One module per stage of dvc.yaml, of the same name; each has a `main()` and reads its own section of params.yaml."""
