"""Colours with a fixed meaning on all dashboards. Red: something is wrong; orange and yellow: somebody has to act."""

from __future__ import annotations

from deploy.grafana.panels import values_as
from exporter.tracking import STATUSES

STATUS = {
    "waiting": "#8E8E8E",
    "parsing": "light-blue",
    "cleaning": "blue",
    "splitting": "semi-dark-blue",
    "indexing": "dark-blue",
    "paused": "yellow",
    "completed": "green",
    "error": "red",
    "unknown": "purple",
}
DISPLAY_STATUS = {
    "queuing": "#8E8E8E",
    "indexing": "dark-blue",
    "paused": "yellow",
    "error": "red",
    "available": "green",
    "disabled": "semi-dark-orange",
    "archived": "light-orange",
    "unknown": "purple",
}
FINISHED = {"completed": "green", "error": "red"}
TARGETS = {"active": "blue", "settled": "green", "failing": "red", "gone": "orange"}

STATUS_NUMBERS = values_as({number: (status, STATUS[status]) for number, status in enumerate(STATUSES, 1)})
STATUS_WORDS = values_as({status: (status, color) for status, color in STATUS.items()})
NO_YES_BAD = values_as({0: ("no", "green"), 1: ("yes", "red")})
NO_YES = values_as({0: ("no", "text"), 1: ("yes", "text")})
