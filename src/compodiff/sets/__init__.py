"""Training material: a set is a folder of shards whose rows name captions and say where their pictures lie."""

from compodiff.sets.form import PAIRS, SPLITS, TRIPLETS, Place, SetDescription, Shard, Vectors
from compodiff.sets.reading import PlaceReader, TrainingSet, open_set
from compodiff.sets.writing import KIND, PATTERNS, ShardWriter, finish_set, is_shard_done, open_shard

__all__ = [
    "KIND",
    "PAIRS",
    "PATTERNS",
    "SPLITS",
    "TRIPLETS",
    "Place",
    "PlaceReader",
    "SetDescription",
    "Shard",
    "ShardWriter",
    "TrainingSet",
    "Vectors",
    "finish_set",
    "is_shard_done",
    "open_set",
    "open_shard",
]
