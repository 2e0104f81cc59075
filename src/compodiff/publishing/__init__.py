"""Models and sets as others find them on a hub: what is published, and the card that says what it is."""
