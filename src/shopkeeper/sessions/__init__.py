"""Sessions: an authenticated visit on one device each, with their opaque tokens."""
