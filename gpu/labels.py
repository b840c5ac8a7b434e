"""One spelling for each kind of object, whatever a model calls it: COCO's, in lower case."""

from __future__ import annotations

SPELLINGS = {
    "aeroplane": "airplane",
    "cell telephone": "cell phone",
    "cellphone": "cell phone",
    "diningtable": "dining table",
    "hair dryer": "hair drier",
    "mobile phone": "cell phone",
    "motorbike": "motorcycle",
    "parcel": "package",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "television": "tv",
    "trafficlight": "traffic light",
    "tv monitor": "tv",
    "tvmonitor": "tv",
}


def canonical_label(label: str) -> str:
    """`Motorbike` -> `motorcycle`, `dining_table` -> `dining table`; a name nobody listed stays, in lower case."""
    plain = " ".join(label.lower().replace("_", " ").split())
    return SPELLINGS.get(plain, plain)
