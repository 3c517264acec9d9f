"""The HTTP doors: they parse into values, call one function, and render the result or the refusal."""
