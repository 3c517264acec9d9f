"""One visit on one device: opaque tokens, whose sessions they are, and the cookies that carry them."""
