"""OAuth 2.0: services and their tokens, and which scopes a subject gets (RFC 6749, RFC 8693, RFC 7009, RFC 9068)."""
