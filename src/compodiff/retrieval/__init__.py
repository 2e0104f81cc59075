"""From a query to ranked pictures: the index, the pictures behind it, and the composer that joins both to a model."""

INSIDE = ".compodiff"  # name of an index in the folder of pictures that it is over
