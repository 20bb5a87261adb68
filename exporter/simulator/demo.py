"""A small server that shows every outcome of indexing within a minute and stays active after that."""

from __future__ import annotations

from exporter.config import DatasetConfig, Secret, ServerConfig
from exporter.simulator.documents import document_id
from exporter.simulator.scenario import Action, BatchPlan, DatasetPlan, DocumentPlan, Rule, Scenario

_RATE_LIMIT = "[openai] Rate Limit Error, Error code: 429 - {'message': 'Rate limit reached for embeddings'}"
_HANDBOOK = DatasetPlan(
    id="5f1d9a2e-6c0b-4d5e-9a43-0c9b7e2d1a01",
    name="Handbook",
    technique="high_quality",
    embedding_model="text-embedding-3-large",
    embedding_model_provider="langgenius/openai/openai",
    batches=(
        BatchPlan(
            id="20261121093000100001",
            queue=3.0,
            repeat=150.0,
            documents=tuple(
                DocumentPlan(
                    name=name,
                    segments=segments,
                    tokens=segments * 180,
                    characters=segments * 420,
                    split=4.0,
                    index=24.0,
                )
                for name, segments in (
                    ("Travel expenses.pdf", 420),
                    ('The "new" onboarding guide.docx', 310),
                    ("Emergency plan 🚒.md", 96),
                    ("Glossary.md", 640),
                )
            ),
        ),
        BatchPlan(
            id="20261121093000100002",
            queue=2.0,
            repeat=180.0,
            documents=(
                DocumentPlan(name="Price list.xlsx", segments=120, index=12.0, outcome="fails", error=_RATE_LIMIT),
                DocumentPlan(name="broken.pdf", outcome="fails", phase="parsing"),
                DocumentPlan(name="Terms.html", segments=80, index=12.0),
            ),
            actions=(Action(kind="retry", document="Price list.xlsx", at=100.0),),
        ),
        BatchPlan(
            id="20261121093000100003",
            queue=1.0,
            repeat=240.0,
            documents=(
                DocumentPlan(name="Archive 2019.pdf", segments=900, split=4.0, index=60.0),
                DocumentPlan(name="Archive 2020.pdf", segments=700, index=30.0),
            ),
            actions=(
                Action(kind="pause", document="Archive 2019.pdf", at=25.0),
                Action(kind="resume", document="Archive 2019.pdf", at=120.0),
            ),
        ),
        BatchPlan(
            id="20261121093000100004",
            documents=(
                DocumentPlan(
                    name="Minutes of 400 meetings.txt", segments=2_000, index=40.0, outcome="dies", after=0.45
                ),
            ),
        ),
    ),
)
_TICKETS = DatasetPlan(
    id="5f1d9a2e-6c0b-4d5e-9a43-0c9b7e2d1a02",
    name='Tickets of "north" and "south"',
    batches=(
        BatchPlan(
            id="20261121093000200001",
            repeat=90.0,
            documents=(
                DocumentPlan(
                    name=r"C:\exports\tickets.csv", segments=3_900, characters=1_900_000, split=20.0, index=25.0
                ),
                DocumentPlan(name="blank.txt", segments=0, characters=7, split=0.2, index=0.5),
            ),
        ),
        BatchPlan(
            id="20261121093000200002",
            repeat=120.0,
            documents=(
                DocumentPlan(
                    name="答疑.md", segments=60, index=8.0, rule=Rule(mode="hierarchical"), language="Chinese"
                ),
                DocumentPlan(name="faq.md", segments=45, index=8.0, rule=Rule(mode="custom", max_tokens=1_000)),
            ),
            actions=(Action(kind="disable", document="faq.md", at=60.0),),
        ),
        BatchPlan(id="20261121093000200003", lost=True, documents=(DocumentPlan(name="lost.txt"),)),
    ),
)
_CRAWL = DatasetPlan(
    id="5f1d9a2e-6c0b-4d5e-9a43-0c9b7e2d1a03",
    name="Website",
    technique="high_quality",
    embedding_model="bge-m3",
    embedding_model_provider="langgenius/ollama/ollama",
    pipeline=True,
    batches=(
        BatchPlan(
            id="20261121093000300001",
            repeat=75.0,
            documents=tuple(
                DocumentPlan(name=f"page {number}", segments=30, index=15.0, source="website_crawl")
                for number in range(1, 4)
            ),
        ),
    ),
)


def demo_scenario() -> Scenario:
    """Waiting, parsing, indexing, completed, failed, paused, dead and lost documents, in eight batches."""
    return Scenario(key="dataset-simulatordemo", workers=5, datasets=(_HANDBOOK, _TICKETS, _CRAWL))


def dataset_configs(scenario: Scenario, *, documents: bool = False) -> tuple[DatasetConfig, ...]:
    """The datasets of a scenario and those of their batches that are planned with an id, for a configuration.

    With ``documents``, their documents as well, although the batches already cover them.
    """
    return tuple(
        DatasetConfig(
            id=plan.id,
            batches=tuple(batch.id for batch in plan.batches if batch.id),
            documents=tuple(
                document_id(plan.id, batch.id, number, document)
                for batch in plan.batches
                if batch.id and documents
                for number, document in enumerate(batch.documents)
            ),
        )
        for plan in scenario.datasets
    )


def server_config(scenario: Scenario, url: str, *, name: str = "demo") -> ServerConfig:
    """The server entry of a configuration that watches a scenario served at ``url``."""
    return ServerConfig(name=name, url=url, api_key=Secret(scenario.key), datasets=dataset_configs(scenario))
