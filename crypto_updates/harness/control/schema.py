"""What the control port takes and answers."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MAX_SECONDS = 3600.0
Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)]


class Strict(BaseModel):
    """A body in which a key that is not known is an error, because it is probably a mistyped one."""

    model_config = ConfigDict(extra="forbid")
