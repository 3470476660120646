"""Schema of the sections `tree`, `data` and `render_people` of `params.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from preprocessing_stage.dataset.class_tree import ClassTree, swap_problems, tree_problems
from preprocessing_stage.dataset.user_error import UserError
from preprocessing_stage.paths import PARAMS_FILE
from preprocessing_stage.renamed_keys import with_new_names

Model = TypeVar("Model", bound=BaseModel)


class ParamsError(UserError):
    """Everything that is wrong with a params file, one problem a line."""

    def __init__(self, path: Path, problems: list[str]) -> None:
        self.problems = problems
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        super().__init__("\n  ".join([f"{path}: {count}", *problems]))


class Section(BaseModel):
    """A part of the params: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_bool(cls, value: Any, field: ValidationInfo) -> Any:
        # pydantic would read `flip: true` as 1.0, every image mirrored.
        wanted = cls.model_fields[str(field.field_name)].annotation
        if isinstance(value, bool) and wanted is not bool:
            raise PydanticCustomError("bool", "Input should not be true or false")
        return value


def plain_path(folder: str) -> str:
    """Raises UserError for a path that a command of dvc.yaml cannot hold between double quotes."""
    if found := sorted({*folder} & {*'$`"\\'}):
        raise UserError(
            f"{folder} has {' '.join(found)}, which a shell takes for more than a letter; rename "
            "or move the folder"
        )
    return folder


class DataParams(Section):
    folder: Annotated[str, Field(min_length=1), AfterValidator(plain_path)]
    """Data set in the Pascal-Part layout."""
    longest_side: int = Field(ge=32, le=2048)
    """Pixels; larger samples are scaled down to it when packed, smaller ones stay."""
    near_gray_chroma: int = Field(ge=1, le=255)
    """A photograph is near gray if max(R, G, B) - min(R, G, B) stays below this in 99 % of it."""
    description: str = Field(min_length=1)
    """What the data set is, for report and model card; changes nothing else."""
    licence: str = Field(min_length=1)
    """On what terms its pictures may be used, for the same places."""


class RenderPeopleParams(Section):
    seed: int = Field(ge=0, lt=2**63)
    train: int = Field(ge=2, le=1_000_000)
    """Number of training samples."""
    val: int = Field(ge=1, le=1_000_000)
    """Number of validation samples."""
    size: int = Field(ge=32, le=1024)
    """Height and width of a sample in pixels."""


def _check_tree(section: Any) -> Any:
    if problems := tree_problems(section):
        raise ValueError("\n".join(problems))
    return section


class PreprocessingParams(Section):
    tree: Annotated[Any, AfterValidator(_check_tree)]
    swap: list[Any]
    """Pairs of leaves that change places when an image is flipped."""
    data: DataParams
    render_people: RenderPeopleParams

    @property
    def class_tree(self) -> ClassTree:
        return ClassTree(self.tree, self.swap)

    @model_validator(mode="after")
    def _swap_fits_tree(self) -> PreprocessingParams:
        if problems := swap_problems(self.tree, self.swap):
            raise ValueError("\n".join(problems))
        return self


def read_yaml(path: Path) -> dict[str, Any]:
    """Sections of a params file, read as YAML 1.2 like DVC does (`1e-3` is a number).

    Raises ParamsError if there is no such file, or if it is no mapping or no YAML.
    """
    try:
        sections = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, YAMLError) as error:  # ValueError: no UTF-8, or no such date
        raise ParamsError(path, [str(error)]) from error
    except RecursionError as error:
        raise ParamsError(path, ["is nested too deep; a tree has some levels"]) from error
    if not isinstance(sections, dict):
        raise ParamsError(path, ["needs sections at its top level: tree, data, train, ..."])
    return with_new_names(sections)


def validate(model: type[Model], values: Any, prefix: str = "") -> tuple[Model | None, list[str]]:
    """`values` as a `model`, or None and every problem as `<key>: <what>, got <value>`."""
    try:
        return model.model_validate(values), []
    except ValidationError as error:
        problems = []
        for item in error.errors():
            key = ".".join([prefix, *map(str, item["loc"])] if prefix else map(str, item["loc"]))
            if item["type"] == "missing":
                problems.append(f"{key}: is missing")
            elif item["type"] == "extra_forbidden":
                known = ", ".join(_fields_at(model, item["loc"][:-1]))
                problems.append(f"{key}: is unknown; known here: {known}")
            elif item["type"] == "value_error":  # raised by a schema, names the values itself
                lines = str(item["ctx"]["error"]).splitlines()
                own_words = item["loc"] in ((), ("tree",)) and not prefix
                problems += lines if own_words else [f"{key}: {x}" for x in lines]
            else:
                allowed = _range_at(model, item["loc"], item["msg"])
                problems.append(f"{key}: {item['msg']}{allowed}, got {item['input']!r}")
        return None, problems


def load_preprocessing_params(path: Path = PARAMS_FILE) -> PreprocessingParams:
    """The params of the preprocessing stage. Raises ParamsError with all problems."""
    sections = read_yaml(path)
    params, problems = preprocessing_problems(sections)
    if params is None:
        raise ParamsError(path, problems)
    return params


def preprocessing_problems(
    sections: Mapping[str, Any],
) -> tuple[PreprocessingParams | None, list[str]]:
    """The params of this stage out of all sections, or None and all problems."""
    own = {key: sections[key] for key in PreprocessingParams.model_fields if key in sections}
    return validate(PreprocessingParams, own)


def _range_at(model: type[BaseModel], location: tuple[int | str, ...], message: str) -> str:
    """The bounds of a number, unless the message names all of them."""
    schema = model.model_json_schema()
    found: Any = schema
    for key in location:
        found, *_ = [kind for kind in found.get("anyOf", [found]) if kind.get("type") != "null"]
        found = schema["$defs"][found["$ref"].split("/")[-1]] if "$ref" in found else found
        found = found.get("properties", {}).get(str(key), {})
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "more than",
        "maximum": "at most",
        "exclusiveMaximum": "less than",
    }
    bounds = {words[key]: f"{found[key]:g}" for key in words if key in found}
    # Whole numbers in full, since %g would round them.
    bounds |= {words[key]: str(found[key]) for key in words if isinstance(found.get(key), int)}
    if all(message.endswith(f" {bound}") for bound in bounds.values()):
        return ""
    return f" ({', '.join(f'{word} {bound}' for word, bound in bounds.items())})"


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for key in location:
        below = model.model_fields[str(key)].annotation
        # A section that may be null is a union.
        kinds = get_args(below) if isinstance(below, UnionType) else (below,)
        sections = [
            kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)
        ]
        if not sections:
            return []
        [model] = sections
    return sorted(model.model_fields)
