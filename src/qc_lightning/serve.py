"""Serve an exported inspector over HTTP: `qc-lightning serve model=inspector.onnx port=8000`."""

from pathlib import Path

from qc_lightning.cli.plain import run_plain
from qc_lightning.config.serving import ServeConfig
from qc_lightning.core.errors import UserError


def serve(config: ServeConfig) -> None:
    """Load the model, replay its golden inputs, listen until the end."""
    from qc_lightning.inference.exported import ExportedInspector
    from qc_lightning.metrics.verdict import Verdict
    from qc_lightning.service import server
    from qc_lightning.service.app import build_app
    from qc_lightning.service.limits import Limits, is_loopback, token_of
    from qc_lightning.service.running import running

    token = token_of(config)
    if token is None and not is_loopback(config.host):
        raise UserError(f"host={config.host}: expected token_file= with an address that others reach, got none")
    bound = server.bind(config.host, config.port)
    inspector = ExportedInspector.load(_model(config), Verdict(config.unreadable.upper()))
    gap = inspector.verify_golden()
    scheme, address = "https" if config.tls_cert else "http", bound.getsockname()
    with running(config, inspector) as service:
        app = build_app(service, inspector.metadata.release)
        limited = Limits(app, int(config.max_megabytes * 1e6), config.timeout, token)
        print(f"{inspector.path}: model {inspector.model_id}, threshold {inspector.decision.threshold:g}")
        print(f"{len(inspector.golden.logit)} golden inputs as exported, logits differ by at most {gap:.2g}")
        print(f"{scheme}://{config.host}:{address[1]}/ for people, /docs for programs; Ctrl-C ends", flush=True)
        server.run(limited, bound, *(Path(file) if file else None for file in (config.tls_cert, config.tls_key)))


def _model(config: ServeConfig) -> Path:
    if config.model is not None:
        return Path(config.model)
    from qc_lightning.core.run import Run

    path = Run.open(str(config.run)).folder / "export" / "inspector.onnx"
    if not path.is_file():
        from qc_lightning.config import ExportConfig
        from qc_lightning.export import export

        export(ExportConfig(run=str(config.run), output=str(path)))
    return path


def main() -> None:
    """Run the command."""
    run_plain(serve, ServeConfig, "model")


if __name__ == "__main__":
    main()
