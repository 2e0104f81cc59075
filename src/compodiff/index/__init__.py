"""An index over pictures: scanned, encoded, searched by vector, filtered by columns, kept in step with its folder."""

INSIDE = ".compodiff"  # name of an index in the folder of pictures that it is over
MANIFEST = "manifest.json"
MADE_BY = "made_by"  # in the manifest: the model that made the index
