"""Tables that merge the rows of several queries, with a style per column."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.grafana.panels import NEUTRAL, Json, Query, Steps, override, panel, thresholds


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: a label, or ``#A`` for the value of query A.

    ``link``: URL behind each cell. ``look``: style of the cell: text, coloured (text) or bar.
    """

    source: str
    title: str
    unit: str = ""
    width: int = 0
    link: str = ""
    look: str = "text"
    steps: Steps = NEUTRAL
    mappings: tuple[Json, ...] = ()
    hidden: bool = False
    maximum: float | None = None


def table(
    title: str,
    about: str,
    *queries: Query,
    columns: tuple[Column, ...],
    sort: tuple[str, bool] | None = None,
    size: tuple[int, int] = (24, 8),
    links: tuple[Json, ...] = (),
    no_value: str = "no data",
) -> Json:
    """Rows merged from queries with the same labels. ``sort``: column title, and whether in descending order."""
    fields = [_field(column) for column in columns]
    places = {field: index for index, field in enumerate(fields)}
    # When only one query returns data, Grafana names the value plainly "Value"; that query is then the first.
    titles = dict(zip(fields, (column.title for column in columns), strict=True))
    if "Value #A" in titles:
        titles["Value"] = titles["Value #A"]
        places["Value"] = places["Value #A"]
    organize = {
        "excludeByName": {"Time": True},
        "indexByName": places,
        "renameByName": titles,
    }
    drawn = panel(
        "table",
        title,
        about,
        queries,
        size=size,
        defaults={"custom": {"align": "auto", "filterable": False}, "color": {"mode": "thresholds"}},
        overrides=[override(column.title, **_properties(column)) for column in columns],
        options={
            "showHeader": True,
            "cellHeight": "sm",
            "sortBy": [{"displayName": sort[0], "desc": sort[1]}] if sort else [],
        },
        links=links,
        no_value=no_value,
    )
    return {
        **drawn,
        "transformations": [{"id": "merge", "options": {}}, {"id": "organize", "options": organize}],
    }


def _field(column: Column) -> str:
    return f"Value {column.source}" if column.source.startswith("#") else column.source


def _properties(column: Column) -> Json:
    cells = {"coloured": {"type": "color-text"}, "bar": {"type": "gauge", "mode": "basic"}}
    found: Json = {"noValue": "-"}
    if column.unit:
        found["unit"] = column.unit
    if column.width:
        found["custom__width"] = column.width
    if column.link:
        found["links"] = [{"title": f"Open {column.title.lower()}", "url": column.link}]
    if column.look in cells:
        found |= {"custom__cellOptions": cells[column.look], "thresholds": thresholds(column.steps)}
    if column.maximum is not None:
        found |= {"min": 0, "max": column.maximum}
    if column.mappings:
        found["mappings"] = list(column.mappings)
    if column.hidden:
        found["custom__hidden"] = True
    return found
