from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pymongo.uri_parser import parse_uri

from api_stub.config import StoreSettings
from crypto_updates.bus.config import BusSettings
from crypto_updates.clock.timetable import Timetable
from crypto_updates.service.config import ServiceSettings
from stack.setup.servers import SECRETS
from worker import trigger


class CredentialSettings(ServiceSettings):
    credentials_dir: Path = Field(Path("/credentials"), description="the path of a folder")
    secrets_dir: Path = Field(Path("secrets"), description="the path of a folder with the user's own passwords")
    coingecko_api_key: SecretStr | None = None
    trigger_subject: trigger.TriggerSubject | None = Field(None, description=trigger.SUBJECT_FORM)
    nats_anonymous: Literal["on"] | None = Field(None, description="on, or nothing")
    tls: Literal["on"] | None = Field(None, description="on, or nothing")


class ProvisionSettings(Timetable, StoreSettings, BusSettings):
    secrets_dir: Path = Field(Path(SECRETS), description="the path of a folder with the passwords of MongoDB's users")

    @property
    def mongo_hosts(self) -> list[str]:
        """The hosts in MONGO_URL, as name:port."""
        return [f"{host}:{port}" for host, port in parse_uri(self.mongo_url)["nodelist"]]
