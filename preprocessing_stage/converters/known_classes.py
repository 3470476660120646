"""Classes of public data sets of people whose label maps hold ids."""

from __future__ import annotations

_LIP = (
    "background hat hair glove sunglasses upper_clothes dress coat socks pants {} scarf skirt face "
    "left_arm right_arm left_leg right_leg left_shoe right_shoe"
)

KNOWN_CLASSES = {
    "lip": _LIP.format("jumpsuits").split(),
    "cihp": _LIP.format("torso_skin").split(),
    "atr": [
        "background",
        "hat",
        "hair",
        "sunglasses",
        "upper_clothes",
        "skirt",
        "pants",
        "dress",
        "belt",
        "left_shoe",
        "right_shoe",
        "face",
        "left_leg",
        "right_leg",
        "left_arm",
        "right_arm",
        "bag",
        "scarf",
    ],
    "pascal-person-part": [
        "background",
        "head",
        "torso",
        "upper_arms",
        "lower_arms",
        "upper_legs",
        "lower_legs",
    ],
}
"""Name of a data set -> its classes; the position is the id.

LIP: Gong et al., "Look into Person" (2017), table 1. CIHP: Gong et al., "Instance-level Human
Parsing via Part Grouping Network" (2018). ATR: Liang et al., "Deep Human Parsing with Active
Template Regression" (2015). Pascal-Person-Part: Chen et al., "Attention to Scale" (2016).
"""
