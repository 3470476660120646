"""Words of a private vocabulary stay gone; the field has its own."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
GONE = {
    "views": r"second[_ -]looks?\b|\blooks again\b|\bsecond_look\b",
    "leaf probabilities": r"\bbeliefs?\b|\bbelieved of\b",
    "predicted": r"\bhanded down\b|\bnot asked\b|\bis asked about\b",
    "oracle parents": r"\btrue[_ ]parents\b",
    "baseline": r"\brivals?\b|\bpeers?\b",
    "shared pretraining, init_from": r"\bstart_from\b|\btrain_common\b|\bcommon network\b",
    "high-resolution phase": r"\bLargerParams\b|`larger`",
    "tta_flip": r"\bfinal\.mirror\b|\bmirrored answers?\b",
    "mc_dropout_samples": r"\bstochastic passes\b|\bfinal\.passes\b",
    "dataset-level": r"\b[Dd]ata set protocol\b",
    "image-level": r"\b[Pp]er-image protocol\b",
    "random": r"\bby lot\b|\bdrawn by lot\b",
    "prefetch, atomic write, file lock": r"\bwhole_files\b",
    "min_crop_scale": r"\bsmallest_crop\b",
    "class_weight_power": r"\bclass_weight_damping\b",
    "EPS, MAX_...": r"\bLEAST(_[A-Z]+)?\b|\bMOST_[A-Z]+\b|\bmost_(pixels|bytes)\b",
}
"""Term -> what it replaces."""
FORMER_NAMES_ALLOWED = (
    "CHANGELOG.md",
    "preprocessing_stage/renamed_keys.py",
    "tests/pipeline/test_renamed_keys.py",
    "tests/pipeline/test_words.py",
)
KINDS = (".py", ".md", ".yaml", ".sh", ".toml", ".j2", ".js", ".css", ".yml")


def files() -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return [
        name
        for name in done.stdout.splitlines()
        if name.endswith(KINDS) and name not in FORMER_NAMES_ALLOWED and (ROOT / name).is_file()
    ]


def test_former_words_are_gone() -> None:
    names = files()
    assert names, "Git lists no files"
    found = [
        f"{name}:{len(text[: match.end()].splitlines())}: {match[0]!r}; use {term}"
        for name in names
        for text in [(ROOT / name).read_text(encoding="utf-8")]
        for term, pattern in GONE.items()
        for match in re.finditer(pattern, text)
    ]
    assert found == []
