"""The pages that people see in a browser. They work without JavaScript, from the same rooms as the API."""

from shopkeeper.http.pages.assets import DemoAssets, read_demo
from shopkeeper.http.pages.routes import PageRoutes

__all__ = ["DemoAssets", "PageRoutes", "read_demo"]
