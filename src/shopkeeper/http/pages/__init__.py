"""The pages that people see in a browser. They work without JavaScript, from the same rooms as the API."""

from shopkeeper.http.pages.assets import DemoAssets, read_demo
from shopkeeper.http.pages.door import Pages

__all__ = ["DemoAssets", "Pages", "read_demo"]
