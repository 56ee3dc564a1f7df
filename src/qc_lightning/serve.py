"""Serve exported inspectors over HTTP: `qc-lightning serve model=inspector.onnx port=8000`."""

from pathlib import Path

from qc_lightning.cli.plain import run_plain
from qc_lightning.config.serving import ServeConfig


def serve(config: ServeConfig) -> None:
    """Load the models, replay their golden inputs, and serve until stopped."""
    from importlib.metadata import version

    from qc_lightning.metrics.verdict import Verdict
    from qc_lightning.service import server
    from qc_lightning.service.app import build_app
    from qc_lightning.service.limits import Limits, is_loopback, token_of
    from qc_lightning.service.model_files import check_models, load_inspectors, read_table
    from qc_lightning.service.running import running

    token, tls = token_of(config), server.tls_of(config)
    with server.bind(config.host, config.port) as bound:
        files = read_table(Path(config.models).expanduser()) if config.models else {("", ""): _model(config)}
        inspectors = load_inspectors(files, Verdict(config.unreadable.upper()))
        lines = check_models(inspectors, config.force)
        if tls is None and not is_loopback(config.host):
            lines.append("WARNING: token and photos travel unencrypted: give tls_cert= and tls_key=")
        scheme, address = "https" if tls else "http", bound.getsockname()
        with running(config, inspectors) as started:
            app = build_app(started.service, version("qc-lightning"), started.camera)
            limited = Limits(app, int(config.max_megabytes * 1e6), config.timeout, token)
            print("\n".join(lines))
            print(f"{scheme}://{config.host}:{address[1]}/ for people, /docs for programs; Ctrl-C ends", flush=True)
            server.run(limited, bound, tls)


def _model(config: ServeConfig) -> Path:
    if config.model is not None:
        return Path(config.model).expanduser()
    from qc_lightning.inference.validity import outdated, run_to_serve

    run = run_to_serve(config.run)
    path = run.folder / "export" / "inspector.onnx"
    if why := outdated(path, run):
        print(f"{path}: {why}; exporting")
        from qc_lightning.config import ExportConfig
        from qc_lightning.export import export

        export(ExportConfig(run=config.run, output=str(path)))
    return path


def main() -> None:
    """Run the command."""
    run_plain(serve, ServeConfig, "model")


if __name__ == "__main__":
    main()
