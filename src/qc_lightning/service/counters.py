"""Metrics for Prometheus at /metrics."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from qc_lightning.inference.inspection import Inspection
from qc_lightning.metrics.verdict import Verdict

ALARMS = (
    "log",
    "masters",
    "camera",
    "plc",
    "source",
    "dark",
    "unreadable",
    "novelty",
    "drift",
    "mix",
    "certificate",
    "sink",
    "photos",
    "disk",
)
"""The topics of alarms; the page has a text for each."""

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Counters:
    """Counters of verdicts, times and refusals of one service, in its own registry.

    Args:
        model_ids: ids of the serving models.
        on_the_way: returns the number of photos without a result.
    """

    def __init__(self, model_ids: Iterable[str], on_the_way: Callable[[], float]) -> None:
        self._registry = CollectorRegistry()
        self._verdicts = Counter("qc_verdicts", "Photos by verdict", ["verdict"], registry=self._registry)
        for verdict in Verdict:
            self._verdicts.labels(verdict.value)
        self._unreadable = Counter("qc_unreadable", "Photos that could not be read", registry=self._registry)
        self._refused = Counter("qc_refused", "Requests refused: too many at a time", registry=self._registry)
        self._overrides = Counter(
            "qc_overrides", "Verdicts of people on rows of the log", ["model", "person"], registry=self._registry
        )
        self._seconds = Histogram(
            "qc_seconds", "From the photo's arrival to its verdict", buckets=_SECONDS, registry=self._registry
        )
        waiting = Gauge("qc_on_the_way", "Photos without a result yet", registry=self._registry)
        waiting.set_function(on_the_way)
        serving = Gauge("qc_model", "Models that serve", ["model_id"], registry=self._registry)
        for model_id in model_ids:
            serving.labels(model_id).set(1)

    def watch(self, alarms: Callable[[], Mapping[str, str]]) -> None:
        """Export alarms as gauges: 1 while there is an alarm.

        Args:
            alarms: returns the current alarms by topic.
        """
        gauge = Gauge("qc_alarm", "1 while a person has to look after it", ["about"], registry=self._registry)
        for about in ALARMS:
            gauge.labels(about).set_function(partial(_is_there, about, alarms))

    def count(self, inspection: Inspection, seconds: float) -> None:
        """Count a result.

        Args:
            inspection: the photo's result.
            seconds: from its arrival to its verdict.
        """
        self._verdicts.labels(inspection.verdict.value).inc()
        self._seconds.observe(seconds)
        if inspection.error:
            self._unreadable.inc()

    def count_override(self, model: Verdict, person: Verdict) -> None:
        """Count a person's override of a verdict."""
        self._overrides.labels(model.value, person.value).inc()

    def refuse(self) -> None:
        """Count a request refused because the queue was full."""
        self._refused.inc()

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)


def _is_there(about: str, alarms: Callable[[], Mapping[str, str]]) -> float:
    return float(any(key.split()[0] == about for key in alarms()))
