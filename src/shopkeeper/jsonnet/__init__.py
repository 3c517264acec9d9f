"""Evaluates Jsonnet (https://jsonnet.org), by which Kratos' configuration shapes JSON: bounded, and without imports."""
