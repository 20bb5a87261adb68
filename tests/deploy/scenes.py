"""All scenes by file name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.deploy import scenes_documents, scenes_exporter, scenes_indexing

if TYPE_CHECKING:
    from tests.deploy.scene import Scene

SCENES: dict[str, Scene] = {**scenes_indexing.SCENES, **scenes_documents.SCENES, **scenes_exporter.SCENES}
