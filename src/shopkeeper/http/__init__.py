"""The HTTP API and the pages: parse requests into values, call one function, and render the result or the refusal."""
