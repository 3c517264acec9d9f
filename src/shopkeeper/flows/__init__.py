"""Self-service flows: login, registration, logout, and the pipeline that runs the checks they share."""
