"""What a set looks like: a contact sheet to rate by hand, the summary of ratings, a dataset card."""
