"""An index over pictures: scanned, encoded, searched by vector, filtered by columns, kept in step with its folder."""

INSIDE = ".compodiff"  # name of an index in the folder of pictures that it is over
