"""Self-service conversations: login, registration, logout, and the pipeline that owns the steps they share."""
