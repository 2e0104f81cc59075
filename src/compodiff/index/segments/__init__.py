"""An index at size: made of vectors that were embedded already, shard by shard, and grown by segments.

A folder like every index, whose manifest names segments. Nothing in it is held in memory but what a search touches:

    manifest.json             as of every index, with `segments`: their rows, lists and probes, what was measured
    trained.faiss             centroids and codes, learned once; every segment uses them
    segments/00000/
        lists.faiss                     codes by inverted list, memory-mapped
        vectors-00000.npy, ...          (n, D) float16 as the encoder made them, a shard each: exact scoring
        pictures-00000.parquet, ...     the rows of the shard, with the number of each in the column `row#`
        id_hashes.npy, id_rows.npy      hashes of the ids, sorted, and the rows that they are of
    removed-00001.npy         a bit a row that was taken out; the manifest names the one that holds

A row keeps its number for ever. Adding writes a segment, removing a file of bits, and then the manifest is replaced.
"""
