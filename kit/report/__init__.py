"""Reports: records to a view, and the view to HTML, text or JSON."""

from kit.report.html import render_html
from kit.report.text import render_text
from kit.report.view import View, build_view

__all__ = ["View", "build_view", "render_html", "render_text"]
