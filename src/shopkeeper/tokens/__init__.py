"""Anonymous tokens: sealed tokens for visits without an account."""
