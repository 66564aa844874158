"""Tests of the library as bots use it: what is confirmed, what comes again, what waits, and the end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.aio.client import Client
from client.aio.given import Given
from client.aio.waiting import Waiting
from client.protocol.events import ConnectionLost, Event, FriendState, Message
from forkchat.errors import BadRequest, Conflict
from forkchat.wire import msgid as m
from forkchat.wire.conversation import pair_key
from tests.bots import Bot, answers, confirmed, live_and_die, readme_bot
from tests.server import Server, soon
from tests.talk import PASSWORD, UNLIMITED, Modern, new_name


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("-w", "2", config=UNLIMITED) as running:
        yield running


@pytest.fixture
def bot(server: Server) -> Bot:
    return Bot(server)


async def take(client: Client, number: int) -> list[str]:
    """Return the texts of the next `number` messages. The last one is not confirmed."""
    texts: list[str] = []
    async for event in client:
        if isinstance(event, Message):
            texts.append(event.text)
            if len(texts) == number:
                break
    return texts


NUMBERS = [str(number) for number in range(10)]


class TestConfirming:
    def test_what_was_not_done_comes_again(self, bot: Bot) -> None:
        """A bot that leaves at the second message has confirmed only the first."""
        bot.tell(*NUMBERS)
        lives: list[list[str]] = []

        async def life(client: Client) -> None:
            lives.append(await take(client, 2))

        bot.run(life)
        bot.run(life)
        assert lives == [["0", "1"], ["1", "2"]]

    def test_what_failed_comes_again(self, bot: Bot) -> None:
        bot.tell(*NUMBERS)
        seen: list[str] = []

        async def life(client: Client) -> None:
            async for event in client:
                if isinstance(event, Message):
                    seen.append(event.text)
                    if event.text == "3" and seen.count("3") == 1:
                        raise ZeroDivisionError
                    if event.text == "9":
                        return

        with pytest.raises(ZeroDivisionError):
            bot.run(life)
        bot.run(life)
        assert seen == [*NUMBERS[:4], *NUMBERS[3:]]

    def test_by_hand(self, bot: Bot) -> None:
        bot.tell(*NUMBERS)
        lives: list[str] = []

        async def life(client: Client) -> None:
            async for event in client:
                if isinstance(event, Message):
                    lives.append(event.text)
                    client.confirm(event)
                    client.confirm(event)
                    break

        bot.run(life)
        bot.run(life)
        assert lives == ["0", "1"]

    def test_several_tasks(self, bot: Bot) -> None:
        """A message in one task's hands is not confirmed when another task finishes later messages."""
        bot.tell(*NUMBERS)
        lives: list[list[str]] = []

        async def slow(client: Client, has_one: asyncio.Event) -> None:
            await take(client, 1)
            has_one.set()
            await asyncio.Event().wait()

        async def life(client: Client) -> None:
            has_one = asyncio.Event()
            task = asyncio.create_task(slow(client, has_one))
            await has_one.wait()
            lives.append(await take(client, 5))
            task.cancel()

        bot.run(life)
        bot.run(life)
        assert lives == [["1", "2", "3", "4", "5"]] * 2

    def test_ones_own_and_others_at_once(self, bot: Bot) -> None:
        """The bot handles each message once while it sends answers.

        An answer's own number is above that of its message.
        """
        bot.tell(*NUMBERS)
        lives: list[str] = []

        async def life(client: Client) -> None:
            async for event in client:
                if isinstance(event, Message) and not event.is_own:
                    await client.send(event.conv, f"you said {event.text}")
                    lives.append(event.text)
                    if event.text == "4":
                        break

        bot.run(life)
        bot.run(lambda client: take(client, 1))
        assert lives == NUMBERS[:5]
        said = bot.li.done(m.FETCH, conv=pair_key(bot.id, bot.li.id), after=0)["msgs"]
        assert Counter(each["msg"] for each in said if each["id"] == bot.id) == Counter(
            f"you said {text}" for text in NUMBERS[:5]
        )


class TestAnotherAccount:
    """Several accounts that log in with one client, one after the other."""

    @pytest.mark.parametrize("logs_out", [True, False])
    def test_nothing_of_the_one_before_is_given_or_confirmed(self, bot: Bot, logs_out: bool) -> None:
        group = bot.li.done(m.CREATE_GROUP, groupname="ops", groupdesc="")["groupid"]
        other = Modern(bot.port).join_in()
        other.done(m.ADD_GROUP, groupid=group)
        other.done(m.LOGINOUT)
        lives: list[list[str]] = []

        async def life(client: Client) -> None:
            await client.request(m.ADD_GROUP, groupid=group)
            for text in NUMBERS:
                await asyncio.to_thread(bot.li.done, m.GROUP_CHAT, groupid=group, msg=text)
            lives.append(await take(client, 2))
            await soon(lambda: len(client._waiting) >= 8, "all are here")
            if logs_out:
                await client.request(m.LOGINOUT)
            else:
                await client.leave()
            await client.login(other.name, PASSWORD)
            lives.append(await take(client, 10))

        async def life_after(client: Client) -> None:
            lives.append(await take(client, 9))

        bot.run(life)
        bot.run(life_after)
        assert lives == [NUMBERS[:2], NUMBERS, NUMBERS[1:]]


class TestCids:
    """Messages that a bot sends with a `cid` of its own choice."""

    def test_an_answer_is_there_once_after_a_kill(self, bot: Bot) -> None:
        """A message is answered once although the bot dies repeatedly between answering and confirming."""
        bot.tell(*NUMBERS[:3])
        lives: list[list[str]] = []
        places: set[int] = set()

        async def life(client: Client) -> None:
            lives.append([])
            async for event in client:
                if isinstance(event, Message) and not event.is_own:
                    cid = f"re-{event.conv}-{event.seq}"
                    places.add((await client.send(event.conv, "you said so", cid=cid)).seq)
                    lives[-1].append(event.text)
                    if event.text == NUMBERS[len(lives) - 1]:
                        assert client._socket
                        client._socket.abort()
                        raise ZeroDivisionError

        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                bot.run(life)
        assert lives[:2] == [["0"], ["0", "1"]]
        assert lives[2][-2:] == ["1", "2"]
        assert len(places) == 3
        assert answers(bot) == {"you said so": 3}

    def test_another_text_is_a_conflict(self, bot: Bot) -> None:
        async def life(client: Client) -> None:
            await client.send(bot.li.id, "yes", cid="re-1")
            with pytest.raises(Conflict):
                await client.send(bot.li.id, "no", cid="re-1")

        bot.run(life)
        assert answers(bot) == {"yes": 1}

    def test_while_the_first_one_waits(self, bot: Bot) -> None:
        """Nothing is queued twice while the first message with that `cid` waits.

        Every caller gets the result. Another text raises Conflict at once.
        """

        async def life(client: Client) -> None:
            assert client._socket
            client._socket.abort()
            await asyncio.sleep(0)
            sending = [asyncio.create_task(client.send(bot.li.id, "yes", cid="re-1")) for _ in range(3)]
            await asyncio.sleep(0)
            assert client.session.unsent == 1
            with pytest.raises(Conflict):
                client.post(bot.li.id, "no", cid="re-1")
            assert len({(sent.conv, sent.seq) for sent in await asyncio.gather(*sending)}) == 1

        bot.run(life)
        assert answers(bot) == {"yes": 1}

    def test_it_may_be_any_text(self, bot: Bot) -> None:
        """A `cid` may be any text, also one that the client uses itself."""

        async def life(client: Client) -> None:
            sending = asyncio.create_task(client.send(bot.li.id, "yes", cid="idle"))
            assert await client.settle(5)
            assert (await sending).cid == "idle"
            for number in range(1, 30):
                asking = asyncio.create_task(client.request(m.FRIENDS, op="list"))
                assert (await client.send(bot.li.id, "yes", cid=str(number))).seq
                assert "friends" in await asking

        bot.run(life)


class TestRequests:
    def test_what_cannot_be_written(self, bot: Bot) -> None:
        """A request that cannot be written raises BadRequest for its caller.

        Everything else goes on, on the same connection.
        """

        async def life(client: Client) -> None:
            connection = client._socket
            asking = asyncio.create_task(client.request(m.FRIENDS, op="list"))
            for value in (2**64, "\ud800", object(), {1: 2}):
                with pytest.raises(BadRequest, match="cannot be sent"):
                    await client.request(m.LOOKUP, id=value)
                with pytest.raises(BadRequest, match="cannot be sent"):
                    client.read("g1", value)  # type: ignore[arg-type]
                with pytest.raises(BadRequest, match="cannot be sent"):
                    client.typing(value)  # type: ignore[arg-type]
            assert "friends" in await asking
            await client.send(bot.li.id, "yes")
            assert client._socket is connection

        bot.run(life)
        assert answers(bot) == {"yes": 1}

    def test_all_other_sessions_end(self, bot: Bot) -> None:
        async def life(client: Client) -> None:
            connection = client._socket
            await client.request(m.ACCOUNT, op="end_others")
            assert client._socket is connection

        bot.run(life)


class TestOnEvent:
    def test_what_it_fails_with(self, bot: Bot) -> None:
        """An error in `on_event` ends nothing else.

        Later events are handed on, and the failed message comes again in the next run.
        """
        bot.tell(*NUMBERS)
        seen: list[str] = []
        errors: list[Exception] = []

        def on_event(event: Event) -> None:
            if isinstance(event, Message):
                seen.append(event.text)
                if event.text == "3" and seen.count("3") == 1:
                    raise ZeroDivisionError

        async def life(client: Client) -> None:
            while "9" not in seen:
                await asyncio.sleep(0.01)

        bot.run(life, on_event=on_event, on_error=errors.append)
        assert [type(error) for error in errors] == [ZeroDivisionError]
        assert seen == NUMBERS
        seen[:] = ["3"]
        bot.run(life, on_event=on_event)
        assert seen == ["3", *NUMBERS[3:]]

    def test_without_an_on_error_the_loop_is_told(self, bot: Bot) -> None:
        told: list[object] = []

        async def life(client: Client) -> None:
            asyncio.get_running_loop().set_exception_handler(
                lambda _, context: told.append(context["exception"])
            )
            await asyncio.to_thread(bot.tell, "0")
            while not told:
                await asyncio.sleep(0.01)

        def on_event(event: Event) -> None:
            if isinstance(event, Message):
                raise ZeroDivisionError

        bot.run(life, on_event=on_event)
        assert isinstance(told[0], ZeroDivisionError)

    def test_it_comes_back_all_the_same(self, bot: Bot) -> None:
        """The client reconnects although `on_event` fails for every event."""
        seen: list[str] = []

        def on_event(event: Event) -> None:
            if isinstance(event, Message):
                seen.append(event.text)
            raise ZeroDivisionError

        async def life(client: Client) -> None:
            await asyncio.to_thread(bot.tell, "0")
            while seen != ["0"]:
                await asyncio.sleep(0.01)
            assert client._socket
            client._socket.abort()
            await asyncio.to_thread(bot.tell, "1")
            while "1" not in seen:
                await asyncio.sleep(0.01)

        bot.run(life, on_event=on_event, on_error=lambda _: None)


class TestWaiting:
    def test_nobody_takes_them(self, bot: Bot) -> None:
        """Messages for a bot that only sends wait at the server, and come when the bot asks for them."""
        bot.tell(*NUMBERS)

        async def life(client: Client) -> None:
            for number in range(300):
                await client.send(bot.li.id, str(number))
            await asyncio.to_thread(bot.tell, "late")
            assert await client.settle(5)
            texts = [text for text in await take(client, 311) if text in (*NUMBERS, "late")]
            assert [text for text in texts if text == "late"] == ["late"]

        bot.run(life)

    def test_one_who_is_slow(self, bot: Bot) -> None:
        """The number of messages that wait in a slow client is bounded.

        All of them come, once and in order.
        """
        count = 700

        async def life(client: Client) -> None:
            first = asyncio.create_task(take(client, 1))
            await asyncio.to_thread(bot.tell, *map(str, range(count)))
            await first
            assert len(client._waiting) < 300
            taken: list[str] = []
            async for event in client:
                if isinstance(event, Message):
                    taken.append(event.text)
                    if len(taken) == count - 1:
                        break
            assert taken == [str(number) for number in range(1, count)]

        bot.run(life)

    def test_other_events_are_bounded(self) -> None:
        async def go() -> None:
            given = Given(lambda conv, seq: None)
            waiting = Waiting(given, lambda has_room: None)
            for number in range(5000):
                waiting.put(FriendState(number, "bo", "online"))
            waiting.put(Message("g1", 1, 57, "bo", "hi", 0))
            assert len(waiting) <= 1001
            last = [await waiting.take() for _ in range(len(waiting))][-1]
            assert isinstance(last, Message)

        asyncio.run(go())


class TestClosing:
    def test_by_several_at_once_and_again(self, bot: Bot) -> None:
        async def life(client: Client) -> None:
            await asyncio.gather(client.close(), client.close())
            await client.close()

        bot.run(life)

    def test_it_ends_everyone_who_iterates(self, bot: Bot) -> None:
        async def life(client: Client) -> None:
            takers = [asyncio.create_task(take(client, 100)) for _ in range(2)]
            await asyncio.to_thread(bot.tell, "0")
            await asyncio.sleep(0)
            await client.close()
            await asyncio.gather(*takers)
            assert await take(client, 1) == []

        bot.run(life)

    def test_nothing_works_after_it(self, bot: Bot) -> None:
        async def life(client: Client) -> None:
            await client.close()
            for ask in (
                client.connect,
                lambda: client.login(bot.name, PASSWORD),
                lambda: client.request(m.FRIENDS, op="list"),
                lambda: client.send(bot.li.id, "hi"),
                lambda: client.register(new_name(), "a good password"),
            ):
                with pytest.raises(ConnectionLost, match="closed"):
                    await ask()
            assert client.session.me == 0

        bot.run(life)

    def test_who_waits_hears_of_it(self, bot: Bot) -> None:
        """Callers that wait get ConnectionLost when the client is closed, also without a connection."""

        async def life(client: Client) -> None:
            assert client._socket
            client._socket.abort()
            await asyncio.sleep(0)
            sending = asyncio.create_task(client.send(bot.li.id, "hi"))
            asking = asyncio.create_task(client.request(m.FRIENDS, op="list"))
            await asyncio.sleep(0)
            await client.close()
            results = await asyncio.gather(sending, asking, return_exceptions=True)
            assert [type(each) for each in results] == [ConnectionLost] * 2

        bot.run(life)

    def test_a_close_that_is_cancelled_goes_on(self, bot: Bot) -> None:
        async def life(client: Client) -> None:
            closing = asyncio.create_task(client.close())
            await asyncio.sleep(0)
            closing.cancel()
            await client.close()
            assert client._socket is None

        bot.run(life)


def test_the_bot_of_the_readme_killed_again_and_again(tmp_path: Path, bot: Bot) -> None:
    """The README's bot handles each message at least once and answers it once.

    A message that it has confirmed never comes again.
    """
    path, told = readme_bot(tmp_path, bot), [str(number) for number in range(200)]
    bot.tell(*told)
    handled: list[str] = []
    done: set[str] = set()
    while done != set(told):
        lines = live_and_die(bot, path, 0.3)
        assert not done & set(lines)
        handled += lines
        done = confirmed(bot)
        assert done <= set(handled)
    assert set(handled) == set(told)
    assert answers(bot) == Counter(f"you said: {text}" for text in told)
