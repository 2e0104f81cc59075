"""A composed model for any encoder that puts texts among pictures, from captions alone."""
