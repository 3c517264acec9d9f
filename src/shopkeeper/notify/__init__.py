"""Mails: their templates, their queue, and the channels that send them."""
