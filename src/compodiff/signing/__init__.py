"""What a model folder's files are and what they were made of, as digests that can be signed and are checked."""
