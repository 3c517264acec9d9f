"""Where identities are proven: our own store, session servers, and any OpenID provider."""
