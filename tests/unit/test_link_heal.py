import asyncio

from crypto_updates.harness.link import Link
from crypto_updates.local import ports


def test_two_faults_of_a_link_may_be_healed_at_once() -> None:
    async def heal_twice() -> None:
        await asyncio.gather(link._listen(), link._listen())

    with Link(target=0) as link:
        link.cut()
        assert ports.is_free(link.port)
        link._loop.run(heal_twice())
        assert not ports.is_free(link.port)
