"""What the bodies of requests and answers have in common."""

from collections.abc import Mapping
from typing import Annotated, Any, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError


def _whole(given: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    if isinstance(given, float) and given.is_integer():
        return int(given)
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    raise PydanticCustomError("whole", "Input should be a whole number")


# An integer in a body as JSON Schema has it: 15 and 15.0, and neither "15" nor true. It stands behind the bounds, or they would
# not be documented: Annotated[int, Field(ge=1, le=9), WHOLE].
WHOLE = BeforeValidator(_whole)

# Numbers of rows, as paths name them.
Number = Annotated[int, Field(ge=1, le=2**31 - 1)]


def with_examples(*examples: Mapping[str, object]) -> ConfigDict:
    """Return the ``model_config`` of a model that the documentation shows by ``examples``."""
    return ConfigDict(json_schema_extra={"examples": cast("list[JsonValue]", list(examples))})


class Asked(BaseModel):
    """The body of a request: an unknown field is an error, and so is text that no database takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nul(cls, given: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
        if _holds_nul(given):
            raise PydanticCustomError("nul", "NUL characters are not text")
        return given


class Shown(BaseModel):
    """The body of an answer, made from a record's attributes."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


def _holds_nul(given: object) -> bool:
    if isinstance(given, str):
        return "\0" in given
    if isinstance(given, dict):
        return any(_holds_nul(key) or _holds_nul(value) for key, value in given.items())
    return isinstance(given, list) and any(_holds_nul(item) for item in given)
