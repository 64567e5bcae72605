"""The pipeline that makes a model: ten stages, `python -m training.stages.NAME` each, in the order of dvc.yaml."""
