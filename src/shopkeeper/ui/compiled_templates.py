"""Templates, compiled once a process instead of once for each language."""

from jinja2 import BytecodeCache
from jinja2.bccache import Bucket


class CompiledTemplates(BytecodeCache):
    """Keeps compiled templates in memory, for Jinja environments that differ only in what their texts say.

    >>> Environment(loader=…, bytecode_cache=CompiledTemplates())  # doctest: +SKIP
    """

    def __init__(self) -> None:
        self._compiled: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Fill the bucket, where its template was compiled before and has not changed since."""
        if compiled := self._compiled.get(bucket.key):
            bucket.bytecode_from_string(compiled)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep the bucket's compiled template."""
        self._compiled[bucket.key] = bucket.bytecode_to_string()
