"""Croissant 1.0 metadata of the synthetic set, with fields of its responsible-AI extension."""

from __future__ import annotations

from typing import Any

from knowledge_recycling.bundle.facts import Facts
from knowledge_recycling.bundle.form import NOT_STATED

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def metadata(facts: Facts, parquet_sha256: str) -> dict[str, Any]:
    """JSON-LD of the set; file names are relative to it."""
    made = facts.synthetic
    assert made is not None
    fields = [("image", "sc:ImageObject"), ("label", "sc:Integer"), ("synthetic", "sc:Boolean")]
    if made.labels != "hard":
        fields.append(("soft_label", "sc:Float"))
    licence = facts.form.licence
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": [
            "http://mlcommons.org/croissant/1.0",
            "http://mlcommons.org/croissant/RAI/1.0",
        ],
        "name": f"synthetic-{facts.name}",
        "description": f"{made.images} synthetic images made by a generative model.",
        "datePublished": facts.date,
        "version": "1.0.0",
        "url": "https://arxiv.org/abs/2407.15526",
        "citeAs": "E. Lomurno, M. Matteucci, Pattern Recognition Letters 190 (2025)",
        "license": licence,
        "creator": {"@type": "sc:Organization", "name": facts.form.owner},
        "rai:dataCollection": "Drawn from a class-conditional generative model; none was recorded.",
        "rai:dataCollectionType": ["Synthetic"],
        "rai:personalSensitiveInformation": facts.gate.sentence,
        "rai:dataUseCases": facts.form.purpose,
        "rai:dataLimitations": (
            "Synthetic images miss what the model did not learn; not for diagnosis."
            + ("" if facts.form.not_for == NOT_STATED else f" {facts.form.not_for}")
        ),
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": "parquet",
                "name": "synthetic.parquet",
                "contentUrl": "synthetic.parquet",
                "encodingFormat": "application/x-parquet",
                "sha256": parquet_sha256,
            }
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "images",
                "name": "images",
                "field": [_field(name, kind) for name, kind in fields],
            }
        ],
    }


def _field(name: str, kind: str) -> dict[str, Any]:
    source: dict[str, Any] = {"fileObject": {"@id": "parquet"}, "extract": {"column": name}}
    if name == "image":
        source["transform"] = {"jsonPath": "bytes"}
    found = {
        "@type": "cr:Field",
        "@id": f"images/{name}",
        "name": name,
        "dataType": kind,
        "source": source,
    }
    return found | ({"repeated": True} if name == "soft_label" else {})
