"""Check an exported inspector on this machine: `qc-lightning verify model=inspector.onnx source=qualification/`."""

from qc_lightning.cli.plain import run_plain
from qc_lightning.config import VerifyConfig


def verify(config: VerifyConfig) -> None:
    """Replay the golden inputs, then inspect photos whose verdicts or labels are known."""
    from qc_lightning.core.progress import with_count
    from qc_lightning.inference.expectations import read_expectations
    from qc_lightning.inference.exported import ExportedInspector
    from qc_lightning.inference.inspection import CameraPhoto

    inspector = ExportedInspector.load(config.model, threads=1)
    gap = inspector.verify_golden()
    print(f"{config.model}: model {inspector.model_id}, threshold {inspector.decision.threshold:g}")
    print(f"{len(inspector.golden.logit)} golden inputs: logits differ by at most {gap:.2g}")
    if config.source is None:
        return
    expected, differing = read_expectations(config.source, inspector.class_names), 0
    inspections = inspector.inspect_files(map(CameraPhoto.of, expected))
    for photo, inspection in zip(expected, with_count(inspections, len(expected), "photos"), strict=True):
        if words := photo.disagreement(inspection):
            print(f"{photo.path} {words}")
            differing += 1
    print(f"{len(expected)} photos: {len(expected) - differing} as expected, {differing} not")
    if differing:
        raise SystemExit(1)


def main() -> None:
    """Run the command."""
    run_plain(verify, VerifyConfig, "source")


if __name__ == "__main__":
    main()
