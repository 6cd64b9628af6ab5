"""The provisioner's settings: the passwords of the database's users."""

from __future__ import annotations

from pydantic import SecretStr

from api_stub.config import StoreSettings


class Settings(StoreSettings):
    """A user without a password is not made; a MongoDB without access control needs none."""

    mongo_writer_password: SecretStr | None = None
    mongo_reader_password: SecretStr | None = None
    mongo_operator_password: SecretStr | None = None

    @property
    def passwords(self) -> dict[str, str]:
        given = {
            "writer": self.mongo_writer_password,
            "reader": self.mongo_reader_password,
            "operator": self.mongo_operator_password,
        }
        return {user: password.get_secret_value() for user, password in given.items() if password}
