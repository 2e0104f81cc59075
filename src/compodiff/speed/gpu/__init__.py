"""`compodiff bench gpu`: what training, sampling, encoding and searching take on a GPU, and the share of its peak."""
