"""The parts of a form, as data: nodes and numbered messages."""
