"""Reading lists page by page."""

from __future__ import annotations

import pytest

from exporter.dify import PAGE, DatasetAnswer, DatasetPage, every_page

FULL = [DatasetAnswer("a")] * PAGE


@pytest.mark.parametrize(
    ("pages", "read"),
    [
        ([DatasetPage(FULL, 150), DatasetPage(FULL[:50], 150)], 2),
        ([DatasetPage(FULL, 100)], 1),
        ([DatasetPage(FULL, None), DatasetPage(FULL, None), DatasetPage(FULL[:1], None)], 3),
        ([DatasetPage(FULL, None), DatasetPage([], None)], 2),
        ([DatasetPage(FULL[:1], None)], 1),
        ([DatasetPage([], 500)], 1),
        ([DatasetPage(FULL, 10**15)] * 9, 5),
    ],
)
def test_where_a_list_ends(pages: list[DatasetPage], read: int) -> None:
    """``total`` ends a list, and so does an empty page; without a total, a page that is not full."""
    assert pages[:read] == list(every_page(lambda number: pages[number - 1], at_most=5))
