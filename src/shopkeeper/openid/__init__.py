"""A client of identity providers: OpenID Connect, and OAuth 2 with a userinfo endpoint."""
