"""Where identities are proven: our own store, and later remote Kratos, Auth0, Entra and any OpenID provider."""
