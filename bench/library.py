"""The same metrics, exposed with prometheus-client as a user would: labelled gauges, or a custom collector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Gauge, make_asgi_app
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from exporter.metrics import CATALOG, IDENTITY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from starlette.types import ASGIApp

    from exporter.metrics import Family


def _families(of: type[Any]) -> list[Family]:
    return [family for family in CATALOG if family.of is of and family.type == "gauge"]


def _labels(family: Family) -> tuple[str, ...]:
    return (*IDENTITY[family.of], *(family.labels or (("status",) if family.states else ())))


class LabelledGauges:
    """One gauge per metric, with one child per series, like most exporters."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._gauges: dict[str, Gauge] = {}

    @property
    def app(self) -> ASGIApp:
        """The library's own application, with its own gzip."""
        return make_asgi_app(self.registry)

    def set(self, objects: Iterable[Any]) -> None:
        """Set every gauge from the objects."""
        for obj in objects:
            identity = [getattr(obj, name) for name in IDENTITY[type(obj)]]
            for family in _families(type(obj)):
                gauge = self._gauges.get(family.name)
                if gauge is None:
                    gauge = Gauge(family.name, family.help, _labels(family), registry=self.registry)
                    self._gauges[family.name] = gauge
                for labels, value in family.samples(obj):
                    gauge.labels(*identity, *labels).set(value)


class CustomCollector(Collector):
    """Stores the values and converts them to the library's families at each scrape, like a careful exporter."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._values: dict[str, dict[tuple[str, ...], float]] = {}
        self._rows = {family.name: family for family in CATALOG}
        self.registry.register(self)

    @property
    def app(self) -> ASGIApp:
        """The library's own application, with its own gzip."""
        return make_asgi_app(self.registry)

    def set(self, objects: Iterable[Any]) -> None:
        """Store the values of the objects."""
        for obj in objects:
            identity = tuple(getattr(obj, name) for name in IDENTITY[type(obj)])
            for family in _families(type(obj)):
                values = self._values.setdefault(family.name, {})
                for labels, value in family.samples(obj):
                    values[identity + labels] = value

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield all families, with prepared label values."""
        for name, values in self._values.items():
            row = self._rows[name]
            family = GaugeMetricFamily(name, row.help, labels=_labels(row))
            for labels, value in values.items():
                family.add_metric(labels, value)
            yield family
