"""Translate a run's network to the bytes of an ONNX model."""

import contextlib
import io
import warnings
from collections.abc import Mapping

import torch
from onnx import ModelProto, helper
from torch import nn

from qc_lightning.core.errors import UserError
from qc_lightning.deployment.graph import ExportedGraph
from qc_lightning.deployment.on_demand import on_demand
from qc_lightning.inference.export_metadata import EVIDENCE, PIXELS, WITH_EVIDENCE
from qc_lightning.models.novelty import Novelty

_MOST = 4096  # photos per batch: the exporter needs a limit


def to_onnx(network: nn.Module, novelty: Novelty | None, shape: tuple[int, int, int]) -> ModelProto:
    """Translate a network to ONNX, for batches of any size.

    Args:
        network: on the CPU, in eval mode.
        novelty: novelty of the run, likewise; None if it is not measured.
        shape: 3, H, W of a decoded photo.

    Raises:
        UserError: the network has an operation that cannot be translated.
    """
    graph = ExportedGraph(network, novelty).eval()
    # two photos, neither blank, so that the exporter does not specialise on its input
    pixels = torch.arange(2 * shape[0] * shape[1] * shape[2]).view(2, *shape).remainder(251).to(torch.uint8)
    try:
        # the exporter prints its steps on standard output
        with torch.no_grad(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")  # the exporter's warnings about its own code
            program = torch.onnx.export(
                graph,
                (pixels,),
                input_names=[PIXELS],
                output_names=graph.names,
                dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=_MOST)},),
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # the exporter wraps exceptions in its own types
        reason = next((line.strip() for line in str(error.__cause__ or error).splitlines() if line.strip()), "")
        raise _cannot(network, reason[:160]) from error
    assert program is not None
    model = _plain(program.model_proto)
    # the exporter may fix the batch size that it saw
    if not all(value.type.tensor_type.shape.dim[0].dim_param for value in (*model.graph.input, *model.graph.output)):
        raise _cannot(network, "it takes batches of one size only")
    if EVIDENCE in graph.names:
        on_demand(model, EVIDENCE, WITH_EVIDENCE)
    return model


def add_metadata(model: ModelProto, entries: Mapping[str, str]) -> None:
    """Set the model's metadata, JSON texts by key."""
    helper.set_model_props(model, {key: entries[key] for key in sorted(entries)})


def _cannot(network: nn.Module, reason: str) -> UserError:
    kind = type(getattr(network, "backbone", network)).__name__
    return UserError(f"this network ({kind}) cannot be exported to ONNX: {reason}; choose another model")


def _plain(model: ModelProto) -> ModelProto:
    """Remove the exporter's notes on each node: source lines and paths of this machine."""
    del model.graph.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""
    return model
