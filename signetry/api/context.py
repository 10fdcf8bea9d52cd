"""What every handler stands on: the house, kept on the application and handed in as a dependency."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request

from foundation.transactions import Transactions
from signetry.house import House


@dataclass(frozen=True, slots=True)
class Context:
    """What the API works with; its actor is the process, not the caller: see ``security.Caller.house``."""

    house: House

    @property
    def transactions(self) -> Transactions:
        """The store."""
        return self.house.transactions

    def now(self) -> datetime:
        """Return the time."""
        return self.house.clock.now()


def context(request: Request) -> Context:
    """Return the application's context."""
    found: Context = request.app.state.context
    return found


Here = Annotated[Context, Depends(context)]
