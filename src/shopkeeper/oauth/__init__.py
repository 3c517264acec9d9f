"""OAuth 2: which scopes a subject gets, and what is issued for them."""
