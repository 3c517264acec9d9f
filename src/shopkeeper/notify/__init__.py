"""Mails: their words, their queue, and the channels that carry them out of the house."""
