"""What Schemathesis is to check besides its own: it loads this file by SCHEMATHESIS_HOOKS."""

import json
from http import HTTPStatus
from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, Response


@schemathesis.check
def valid_data_passes_validation(_context: CheckContext, response: Response, case: Case[Any]) -> None:
    """What is valid by the schema, validation accepts.

    Schemathesis's own ``positive_data_acceptance`` wants every such request done. A schema cannot say that a domain can be
    resolved to ASCII, that a profile needs a person, or that a key is used for one request: such refusals hold no ``errors``.
    """
    if case.meta is None or not case.meta.generation.mode.is_positive or response.status_code != HTTPStatus.BAD_REQUEST:
        return
    errors = json.loads(response.content).get("errors", ())
    # No schema says of every string that it holds no NUL; what comes with one is refused as a whole.
    beyond = [error for error in errors if error["detail"] != "NUL characters are not text"]
    assert not beyond, f"validation refused what the schema calls valid: {beyond}"
