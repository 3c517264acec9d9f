"""The conversation's vocabulary, as data: nodes of a form and numbered messages."""
