"""From a query to ranked pictures: asked, prepared, composed by the model, answered by an index."""
