"""Sets of other projects come in, ours go out: webdataset, Hugging Face parquet, manifests, folders with captions.

What comes in ends as a set (`compodiff.sets`) whose pictures stay where they lie.
"""
