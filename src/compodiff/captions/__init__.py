"""Caption pairs from any caption set: by keywords, or written by a language model."""
