"""The pages for browsers. They work without JavaScript, and call the same services as the API."""

from shopkeeper.http.pages.assets import DemoAssets, read_demo
from shopkeeper.http.pages.routes import PageRoutes

__all__ = ["DemoAssets", "PageRoutes", "read_demo"]
