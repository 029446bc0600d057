"""What a converted model says of itself: deliberate metadata in place of what an exporter left in the file."""

import onnx

import kit
from kit.model.graph import drop_unused_domains
from kit.model.inspect import graphs_of
from kit.model.metadata import PREFIX, properties, serialized, with_properties
from kit.records import ModelRecord


def stamped(data: bytes, source: ModelRecord, converter: str, version: str, name: str) -> bytes:
    """The model in `data` with its producer, and properties that name its source and what converted it.

    Documentation and notes of an exporter (paths, stack traces, times) are removed: the same source gives the same
    bytes on every machine. Only properties of this tool are kept.
    """
    model = onnx.ModelProto.FromString(data)
    model.producer_name, model.producer_version = "edgeproof", kit.__version__
    model.graph.name = name
    model.model_version = 0
    model.domain = ""
    _strip(model)
    own = {key: value for key, value in properties(model).items() if key.startswith(PREFIX)}
    del model.metadata_props[:]
    lineage = {
        f"{PREFIX}source": source.digest,
        f"{PREFIX}source_format": source.format,
        f"{PREFIX}converter": f"{converter} ({version})",
    }
    drop_unused_domains(model)
    return serialized(with_properties(model, {**own, **lineage}))


def _strip(model: onnx.ModelProto) -> None:
    """Remove documentation and metadata everywhere but in the model's own properties."""
    model.doc_string = ""
    for graph in graphs_of(model):
        graph.doc_string = ""
        del graph.metadata_props[:]
        parts = (graph.node, graph.input, graph.output, graph.value_info, graph.initializer)
        for each in (item for part in parts for item in part):
            each.doc_string = ""
            del each.metadata_props[:]
    for function in model.functions:
        function.doc_string = ""
        del function.metadata_props[:]
        for node in function.node:
            node.doc_string = ""
            del node.metadata_props[:]
