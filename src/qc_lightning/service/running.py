"""What runs beside the HTTP interface, begun and ended in the right order."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from qc_lightning.config.serving import ServeConfig
from qc_lightning.inference.exported import ExportedInspector
from qc_lightning.inference.kept_photos import KeptPhotos
from qc_lightning.inference.verdict_log import VerdictLog
from qc_lightning.service.counters import Counters
from qc_lightning.service.engine import Engine
from qc_lightning.service.folder import FolderSource
from qc_lightning.service.masters import Masters
from qc_lightning.service.models import Key, Models
from qc_lightning.service.service import Service
from qc_lightning.service.sinks.delivery import Delivery, Sink
from qc_lightning.service.sinks.files import csv_sink, json_lines_sink
from qc_lightning.service.sinks.modbus import Modbus
from qc_lightning.service.sinks.mqtt import Mqtt
from qc_lightning.service.sinks.webhook import Webhook


@contextmanager
def running(config: ServeConfig, inspectors: Mapping[Key, ExportedInspector]) -> Iterator[Service]:
    """A service with its log, its receivers and its folder; the end of each waits for those that feed it.

    Raises:
        UserError: the log cannot be written, an address is none, or there is no such folder.
    """
    sinks = _sinks(config)
    with ExitStack() as ending:
        log = VerdictLog(Path(config.log).expanduser()) if config.log else None
        if log:
            ending.callback(log.close)
        kept = KeptPhotos(*keeping) if (keeping := config.keeping()) else None
        models = Models(inspectors, log.path if log else None)
        engine = Engine(config.queue)
        counters = Counters([model.inspector.model_id for model in models.all], lambda: engine.on_the_way)
        service = Service(models, engine, counters, config.timeout, log, kept, config.views, config.spot_check)
        service.masters = Masters(log.path, config.masters) if log else None
        for sink in sinks if log else []:
            assert log is not None
            delivery = Delivery(sink, log)
            ending.callback(delivery.close)
            service.beside[f"sink {sink.name}"] = delivery
        ending.callback(engine.close)
        if log and config.source:
            source = FolderSource(service, log, Path(config.source).expanduser(), config.rest)
            ending.callback(source.close)
            service.beside["source"] = source
        yield service


def _sinks(config: ServeConfig) -> list[Sink]:
    sinks: list[Sink] = []
    if config.csv:
        sinks.append(csv_sink(Path(config.csv).expanduser(), config.separator, config.decimal))
    if config.jsonl:
        sinks.append(json_lines_sink(Path(config.jsonl).expanduser()))
    if config.webhook:
        sinks.append(Webhook(config.webhook))
    if config.mqtt:
        sinks.append(Mqtt(config.mqtt))
    if config.modbus:
        sinks.append(Modbus(config.modbus, config.deadline))
    return sinks
