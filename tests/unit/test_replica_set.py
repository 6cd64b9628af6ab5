"""What a mongod answers while it starts."""

from typing import Any, cast

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from crypto_updates.local.replica_set import ALREADY_INITIALIZED, NOT_YET_INITIALIZED, initiate

Client = MongoClient[dict[str, Any]]


class Starting:
    """It says three times that it has no replica set, and to the attempt to make one, an error."""

    def __init__(self, code: int) -> None:
        self.admin = self
        self._errors = {"replSetGetConfig": 3 * [NOT_YET_INITIALIZED], "replSetInitiate": [code]}

    def command(self, name: str, *_: object) -> dict[str, Any]:
        if codes := self._errors.get(name):
            raise OperationFailure(name, codes.pop())
        return {"parsed": {"replication": {"replSetName": "rs0"}}}


def test_a_server_that_knows_its_replica_set_only_after_a_moment_is_left_alone_until_it_does() -> None:
    server = Starting(ALREADY_INITIALIZED)
    initiate(cast(Client, server), "mongo:27017")
    assert server.command("replSetGetConfig")


def test_another_error_is_one() -> None:
    with pytest.raises(OperationFailure, match="replSetInitiate"):
        initiate(cast(Client, Starting(103)), "mongo:27017")
