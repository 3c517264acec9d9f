"""Sessions: an authenticated visit on one device each, with their opaque tokens and the cookies that carry them."""
