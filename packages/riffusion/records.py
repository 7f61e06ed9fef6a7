"""What the models of requests and responses have in common."""

import dataclasses
import logging
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

logger = logging.getLogger(__name__)

MAX_PROMPT_CHARACTERS = 4000

Prompt = Annotated[str, Field(max_length=MAX_PROMPT_CHARACTERS)]


class Record(BaseModel):
    """A model that scripts can also use as a dataclass, which it is upstream."""

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Make `dataclasses.asdict`, `replace` and `fields` work on the model."""
        twin: Any = dataclasses.make_dataclass(cls.__name__, cls.model_fields)
        cls.__dataclass_fields__ = twin.__dataclass_fields__


class Request(Record):
    """Strict types and finite numbers; unknown fields are ignored with a warning in the log."""

    model_config = ConfigDict(
        strict=True,
        allow_inf_nan=False,
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _log_unknown_fields(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            unknown = [str(name)[:60] for name in values if name not in cls.model_fields]
            if unknown:
                logger.warning("ignoring unknown fields of %s: %s", cls.__name__, unknown[:20])
        return values


def as_tuple(value: object) -> object:
    """Convert a JSON list to a tuple, which strict validation demands."""
    return tuple(value) if isinstance(value, list) else value
