"""Reports: records to a view, and the view to HTML, text or JSON."""

from kit.report.html import render_html
from kit.report.machine import emulated_parts
from kit.report.text import render_text
from kit.report.view import View, build_view

__all__ = ["View", "build_view", "emulated_parts", "render_html", "render_text"]
