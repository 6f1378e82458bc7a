"""Static HTML pages: one self-contained file each, made of small pure functions.

Every value that reaches a page is escaped unless a function of this package made it, and the page
forbids itself everything but its own style, its own script and the media inside it.
"""

from dynamicrafter.pages.charts import Bar, Series, funnel, histogram, line_chart
from dynamicrafter.pages.shell import form_style, render
from dynamicrafter.pages.tables import Cell, Column, Row, table
from dynamicrafter.pages.videos import Budget, data_uri, image, together, video

__all__ = [
    "Bar",
    "Budget",
    "Cell",
    "Column",
    "Row",
    "Series",
    "data_uri",
    "form_style",
    "funnel",
    "histogram",
    "image",
    "line_chart",
    "render",
    "table",
    "together",
    "video",
]
