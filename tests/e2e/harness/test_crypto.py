import sys
from pathlib import Path

from crypto_updates.harness.condition import eventually
from crypto_updates.harness.crypto import Crypto

LISTENER = (sys.executable, str(Path(__file__).with_name("listener.py")))


def test_an_event_leads_to_a_reaction(crypto: Crypto) -> None:
    app = crypto.app(*LISTENER)
    crypto.publish(copies=2)
    crypto.reactions.wait(2)
    assert len(crypto.published) == 2
    crypto.nats.down(0)
    eventually(crypto.subscribers)
    crypto.publish()
    crypto.reactions.wait(3)
    app.restart()
    crypto.publish()
    crypto.reactions.wait(4)
    crypto.reset()
    assert len(crypto.reactions) == len(crypto.published) == 0
    crypto.publish()
    crypto.reactions.wait(1)
