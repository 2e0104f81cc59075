"""Stage 1 (text -> image embedding) and stage 2 (text-to-image, masked and triplet tasks) of CompoDiff's training."""
