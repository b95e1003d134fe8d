"""What a saved classifier's folder says of its labels and decisions. Reads small files alone, no weights."""

import json
from pathlib import Path

from classify.decide import FILE, Decisions, plain
from finewise.data.labels.space import LabelSpace
from finewise.errors import InputError


def read_space(folder: Path) -> LabelSpace:
    """Return the labels of a saved classifier. Reads config.json alone.

    Raises:
        InputError: It is no classifier with named labels.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"model={folder}: no {path.name} there; give the folder that a classifier was saved into"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is damaged ({error}); save the model again") from None
    architectures = config.get("architectures") or []
    if not any("SequenceClassification" in name for name in architectures):
        what = ", ".join(architectures) or config.get("model_type", "a model")
        raise InputError(
            f"model={folder} holds {what}, which is no text classifier; train one: python -m classify.train"
        )
    id2label = config.get("id2label") or {}
    problem = config.get("problem_type")
    if problem == "regression" or (len(id2label) < 2 and problem != "multi_label_classification"):
        raise InputError(
            f"model={folder} gives one number and no labels (regression); a classifier has two labels or more"
        )
    names = tuple(id2label[key] for key in sorted(id2label, key=int))
    return LabelSpace(kind="multi" if problem == "multi_label_classification" else "single", names=names)


def read_decisions(folder: Path, space: LabelSpace) -> Decisions:
    """Return the fitted decisions of a folder, or plain ones where it has none.

    Raises:
        InputError: They are damaged or for other labels.
    """
    if not (folder / FILE).is_file():
        return plain(space.kind, space.names)
    decisions = Decisions.load(folder, space.names)
    if decisions.multi != (space.kind == "multi"):
        raise InputError(
            f"{folder / FILE} is for {decisions.kind} labels and the model is for {space.kind}; save the model again"
        )
    return decisions
