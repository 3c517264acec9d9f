"""What is wrong with a token or a key set. Callers turn it into the error of their own protocol."""


class TokenRefused(ValueError):
    """A token is not accepted.

    Args:
        detail: a sentence for people. It repeats nothing of the token.
        cause: the same in one word, such as `signature`, `expired` or `typ`.
    """

    def __init__(self, detail: str, *, cause: str) -> None:
        super().__init__(detail)
        self.detail, self.cause = detail, cause


class KeysInvalid(ValueError):
    """A document is no key set, or a private key in it cannot be used. The sentence repeats nothing of a key."""
