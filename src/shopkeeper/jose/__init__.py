"""Signed JSON Web Tokens: their keys, the one verifier and the one signer (RFC 7515, 7517, 7519 and 8725)."""
