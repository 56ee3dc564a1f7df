"""Start and stop everything that runs alongside the HTTP interface, in the right order."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from qc_lightning.config.serving import ServeConfig
from qc_lightning.core.csv_files import Marks
from qc_lightning.inference.exported import ExportedInspector
from qc_lightning.inference.kept_photos import KeptPhotos
from qc_lightning.inference.verdict_log import VerdictLog
from qc_lightning.service.camera import Camera
from qc_lightning.service.camera_source import CameraSource
from qc_lightning.service.counters import Counters
from qc_lightning.service.engine import Engine
from qc_lightning.service.folder import FolderSource
from qc_lightning.service.masters import Masters
from qc_lightning.service.models import Key, Models
from qc_lightning.service.plc import PlcTrigger
from qc_lightning.service.service import Service
from qc_lightning.service.shifts import Shifts
from qc_lightning.service.sinks.delivery import Delivery, Sink
from qc_lightning.service.sinks.files import csv_sink, json_lines_sink
from qc_lightning.service.sinks.modbus import Registers
from qc_lightning.service.sinks.mqtt import Mqtt
from qc_lightning.service.sinks.opcua import Variables
from qc_lightning.service.sinks.plc import Plc, PlcSink
from qc_lightning.service.sinks.webhook import Webhook


@dataclass
class Running:
    """The running parts.

    Attributes:
        service: inspects the photos.
        camera: the service's own camera; None if it has none.
    """

    service: Service
    camera: CameraSource | None = None


@contextmanager
def running(config: ServeConfig, inspectors: Mapping[Key, ExportedInspector]) -> Iterator[Running]:
    """Run a service with its log, receivers and sources; each stops after the ones that feed it.

    Raises:
        UserError: the log cannot be written, an address is invalid, or the folder or camera does not exist.
    """
    chosen = [one.decode for (_, camera), one in inspectors.items() if camera in ("", config.camera_name)]
    regions = [decode for decode in chosen if decode.cameras]
    for decode in regions if config.camera is not None or config.source else ():
        decode.check_camera(config.camera_name, "give camera_name=")
    sinks, plc = _sinks(config), _plc(config)
    triggered = config.camera is not None and config.interval is None
    if plc and not triggered:
        sinks.append(PlcSink(plc, config.deadline))
    with ExitStack() as ending:
        log = VerdictLog(Path(config.log).expanduser()) if config.log else None
        if log:
            ending.callback(log.close)
        kept = KeptPhotos(*keeping) if (keeping := config.keeping()) else None
        models = Models(inspectors, log.path if log else None)
        engine = Engine(config.queue)
        counters = Counters([model.inspector.model_id for model in models.all], lambda: engine.on_the_way)
        service = Service(models, engine, counters, config.timeout, log, kept, config.views, config.spot_check)
        started = Running(service)
        if log is None:
            ending.callback(engine.close)
            yield started
            return
        service.masters = Masters(log.path, config.masters)
        service.shifts = Shifts(log.path, config.shift_starts())
        if plc:
            plc.state = service.state
        for sink in sinks:
            delivery = Delivery(sink, log)
            ending.callback(delivery.close)
            service.watched[f"sink {sink.name}"] = delivery
        ending.callback(engine.close)
        if config.source:
            camera = config.camera_name if regions and config.camera is None else ""
            source = FolderSource(service, log, Path(config.source).expanduser(), config.rest, camera)
            ending.callback(source.close)
            service.watched["source"] = source
        if config.camera is not None:
            started.camera = CameraSource(service, log, Camera(config.camera), config.camera_name, config.interval)
            ending.callback(started.camera.close)
            service.watched["camera"] = started.camera
            if plc and triggered:
                service.watched["plc"] = trigger = PlcTrigger(plc, started.camera, config.deadline)
                ending.callback(trigger.close)
        yield started


def _plc(config: ServeConfig) -> Plc | None:
    if config.opcua:
        return Plc(Variables(config.opcua, config.opcua_security))
    return Plc(Registers(config.modbus)) if config.modbus else None


def _sinks(config: ServeConfig) -> list[Sink]:
    sinks: list[Sink] = []
    if config.csv:
        sinks.append(csv_sink(Path(config.csv).expanduser(), Marks(config.separator, config.decimal)))
    if config.jsonl:
        sinks.append(json_lines_sink(Path(config.jsonl).expanduser()))
    if config.webhook:
        sinks.append(Webhook(config.webhook))
    if config.mqtt:
        sinks.append(Mqtt(config.mqtt))
    return sinks
