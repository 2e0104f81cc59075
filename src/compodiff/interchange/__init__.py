"""Triplets of other projects come in, ours go out: webdataset, Hugging Face parquet, LaSCo.

What comes in ends as a folder of triplets like the one that the stage `synthesize` makes.
"""
