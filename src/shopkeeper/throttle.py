"""Throttles guessing: consecutive failures of a (name, address) pair, and a budget of attempts per address.

An attempt is counted *before* the password is hashed, and stays counted unless it succeeds. So a hundred concurrent
guesses achieve no more than a hundred consecutive ones: at most `failures` of them reach the hash.

- After `failures` consecutive failures a pair is blocked, first for `block` and each further time twice as long, up to
  `block_max`. A successful sign-in clears the pair. Failures are forgotten after `block_max`, or at most twice that.
- An address may make `per_ip` attempts, for any subjects and with any outcome. A successful sign-in does not restore
  the budget: otherwise the owner of one account could guess at all others without limit.
- An account may have several names, such as an e-mail address and a phone number. A block of one must not show at the
  others: a stranger would learn that they belong together. So names are blocked one by one, and the account behind them
  has a limit of its own, `OF_ACCOUNT` times as high, that does not show: attempts beyond it are made and fail, whatever
  their secret, with the same answer and the same work.

Subjects and addresses are stored only as keyed hashes. IPv6 addresses are counted by /64, because one customer owns a
whole /64. All times are computed with the given clock; the TTLs of the counters only remove old ones.

An attempt that ends because we are busy gives the address's budget back as well, where its operation runs within
`refunds.refunded_when_busy`; a budget that is spent for an effect comes back where there was none.

The outcome of an attempt is recorded where the attempt was counted. If the cache is down by then, the outcome is kept
in process and recorded when the cache answers again: an attempt whose outcome is lost would count as one under way.
"""

import asyncio
import hmac
import ipaddress
import math
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Protocol, TypeVar

import limits
import structlog
from structlog.typing import FilteringBoundLogger

from shopkeeper import refunds
from shopkeeper.clock import Clock
from shopkeeper.errors import TooManyRequests

ASK_AGAIN_AFTER: Final = timedelta(seconds=5)
"""How long the spare counters are used before the cache is tried again: each try may cost a timeout."""
WHILE_OTHERS_ARE_UNDER_WAY: Final = timedelta(seconds=1)
OF_ACCOUNT: Final = 2
"""How many times the failures of one name an account may have, over all its names, until attempts fail silently. Above
1, so that its owner, blocked under one name, still gets in under another."""
MOST_OWED: Final = 1_000
"""Outcomes that wait for the cache: of the attempts that were under way when it went down. The oldest are dropped."""

T = TypeVar("T")


class Counters(Protocol):
    """The part of the cache port that a throttle needs."""

    async def get(self, key: str) -> bytes | None:
        """Return the value, or the count as decimal digits; None where there is none."""
        ...

    async def set(self, key: str, value: bytes, *, ttl: timedelta) -> None:
        """Store a value until `ttl` has passed."""
        ...

    async def increment(self, key: str, *, ttl: timedelta, by: int = 1) -> int:
        """Increment a counter atomically and return its new value."""
        ...

    async def delete(self, *keys: str) -> None:
        """Delete values."""
        ...


@dataclass(frozen=True, slots=True)
class ThrottleSlot:
    """A counted attempt, to be given to exactly one of `failed`, `succeeded` and `release`.

    Args:
        counters: where the attempt was counted, and where its outcome is recorded.
        pair: the key of the name and the client's network.
        account: the key of the account behind the name, if one was given.
        counted: the counters that were incremented, which `release` decrements.
        spent: what it took of the address's budget.
        exhausted: the account behind the name has no attempt left: the caller does all the work, and refuses as it
            refuses a wrong secret.
    """

    counters: Counters
    pair: str
    account: str | None
    counted: tuple[str, ...]
    spent: "_Spent"
    exhausted: bool = False


@dataclass(frozen=True, slots=True)
class _Spent:
    """One attempt of a budget: where it was counted, and under which key."""

    counters: Counters
    key: str


@dataclass(frozen=True, slots=True)
class _Block:
    """The block of a pair: how many blocks in a row there were, and when the last one ends.

    Each round of attempts, which ends with a block or a success, has counters of its own, named by its number.
    """

    round: int = 0
    level: int = 0
    until: float = 0.0

    @classmethod
    def read(cls, value: bytes | None) -> "_Block":
        if value is None:
            return cls()
        number, level, until = value.decode().split()
        return cls(int(number), int(level), float(until))

    def written(self) -> bytes:
        return f"{self.round} {self.level} {self.until}".encode()


class Throttle:
    """A throttle for one kind of attempt.

    Args:
        counters: the cache, shared by all workers.
        spare: counters in process, used while the cache is down.
        down: the exception that `counters` raise when the cache cannot be reached.
        key: hashes subjects and addresses; derived for this purpose only.
        name: separates the counters of this throttle from those of others.
        failures: the number of consecutive failures after which a pair is blocked.
        block: the length of the first block.
        block_max: the maximum length of a block; also how long failures are remembered.
        per_ip: attempts of one address, such as `30/minute`.

    >>> async def sign_in(subject, account, password, ip):
    ...     slot = await throttle.check(subject, ip=ip, account=account)
    ...     if not await hasher.verify(password, hashed) or slot.exhausted:
    ...         await throttle.failed(slot)
    ...         raise InvalidCredentials
    ...     await throttle.succeeded(slot)
    """

    def __init__(
        self,
        counters: Counters,
        *,
        spare: Counters,
        down: type[Exception],
        clock: Clock,
        key: bytes,
        name: str,
        failures: int,
        block: timedelta,
        block_max: timedelta,
        per_ip: str,
        log: FilteringBoundLogger | None = None,
    ) -> None:
        if failures < 1 or not timedelta(0) < block <= block_max:
            raise ValueError(
                f"throttle {name}: failures must be at least 1, and block longer than 0 and up to block_max"
            )
        if len(key) < 16:
            raise ValueError(f"throttle {name}: the key needs 16 bytes at least")
        budget = limits.parse(per_ip)
        self._per_ip, self._period = budget.amount, float(budget.get_expiry())
        self._counters, self._spare, self._down, self._clock = counters, spare, down, clock
        self._key, self._name = key, name
        self._failures, self._block, self._block_max = failures, block, block_max
        self._ask_again_at: datetime | None = None
        self._owed: deque[Callable[[Counters], Awaitable[None]]] = deque(maxlen=MOST_OWED)
        self._log: FilteringBoundLogger = log or structlog.get_logger("shopkeeper.throttle")

    @property
    def degraded(self) -> bool:
        """Whether the cache is down, so that each worker counts separately."""
        return self._ask_again_at is not None

    async def check(self, subject: str, *, ip: str, account: str | None = None) -> ThrottleSlot:
        """Count an attempt before any expensive work.

        Each attempt must end with exactly one of `failed`, `succeeded` and `release`, which take the returned slot.

        Args:
            subject: the name, normalised as for its lookup, so that no spelling has counters of its own.
            account: what the name leads to, where several names may lead to one account; for an unknown name a value of
                its own, so that the work does not tell. Its limit shows only in `ThrottleSlot.exhausted`.

        Raises:
            TooManyRequests: with the seconds to wait.
        """
        pair, address = self._names(subject, ip)
        behind = self._account(account, ip)
        outcome = await self._counting(lambda counters: self._reserve(counters, pair, address, behind))
        if isinstance(outcome, timedelta):
            raise TooManyRequests(retry_after=math.ceil(outcome.total_seconds()))
        await self._charge(outcome.spent)
        return outcome

    async def spend(self, source: str, *, for_effect: bool = False) -> None:
        """Spend one attempt of the budget that `per_ip` gives to a source, where no verdict follows.

        The source is a client's address, or another value that the budget is for, such as the recipient of mails.
        `for_effect` says that it is spent for what follows, such as a mail, and comes back where nothing does. Raises
        `TooManyRequests` with the seconds to wait.
        """
        _, address = self._names("", source)
        outcome = await self._counting(lambda counters: self._spend(counters, address))
        if isinstance(outcome, timedelta):
            raise TooManyRequests(retry_after=math.ceil(outcome.total_seconds()))
        await self._charge(outcome, for_effect=for_effect)

    async def borrow(self, source: str) -> str:
        """Spend one attempt as `spend` does, of what a later request may finish; return what `give_back` takes then."""
        _, address = self._names("", source)
        outcome = await self._counting(lambda counters: self._spend(counters, address))
        if isinstance(outcome, timedelta):
            raise TooManyRequests(retry_after=math.ceil(outcome.total_seconds()))
        await self._charge(outcome)
        return outcome.key

    async def give_back(self, borrowed: str) -> None:
        """Give back what was borrowed, once, because it came to a good end."""
        await self._counting(lambda counters: self._take_back(counters, borrowed, ttl=self._memory_of_budget))

    async def failed(self, slot: ThrottleSlot) -> None:
        """Record that the attempt was a wrong guess."""
        await self._record(slot, partial(self._fail, name=slot.pair, allowed=self._failures))
        if slot.account is not None:
            allowed = self._failures * OF_ACCOUNT
            await self._record(slot, partial(self._fail, name=slot.account, allowed=allowed))

    async def succeeded(self, slot: ThrottleSlot) -> None:
        """Clear the pair, and what its account has failed, after a successful attempt. Blocks of other names stay, and
        the address's budget stays spent."""
        for name in filter(None, (slot.pair, slot.account)):
            await self._record(slot, partial(self._clear, name=name))

    async def release(self, slot: ThrottleSlot) -> None:
        """Take back the pair's count of an attempt without a verdict: we were busy, or another server was down.

        The address's budget stays spent, unless the operation ends because we were busy.
        """
        for key in slot.counted:
            await self._record(slot, partial(self._take_back, key=key))

    async def is_first_refusal(self, *, ip: str) -> bool:
        """Whether this is the first refusal of an address in its period.

        A caller that records refusals records only that one: a thousand refusals per second must not cause as many
        writes.
        """
        _, address = self._names("", ip)
        key, ttl = f"{address}:refused:{int(self._now / self._period)}", self._memory_of_budget
        return await self._counting(lambda counters: counters.increment(key, ttl=ttl)) == 1

    async def _counting(self, act: Callable[[Counters], Awaitable[T]]) -> T:
        """Count in the cache, or with the spare counters while the cache is down."""
        try:
            return await self._in_cache(act)
        except self._down:
            return await act(self._spare)

    async def _charge(self, spent: _Spent, *, for_effect: bool = False) -> None:
        """Give one attempt of a budget back where the operation that spends it ends because we are busy, or without the
        effect that it was spent for."""
        take_back = partial(self._take_back, key=spent.key, ttl=self._memory_of_budget)
        await refunds.charge(give_back=lambda: self._record(spent, take_back), for_effect=for_effect)

    async def _record(self, counted: ThrottleSlot | _Spent, act: Callable[[Counters], Awaitable[None]]) -> None:
        """Record an outcome where its attempt was counted: in the cache as soon as it answers."""
        if counted.counters is self._spare:
            await act(self._spare)
            return
        try:
            await self._in_cache(act)
        except self._down:
            self._owed.append(act)

    async def _in_cache(self, act: Callable[[Counters], Awaitable[T]]) -> T:
        """Count in the cache, after the outcomes that it is owed. Raises `down`, for a while without asking again."""
        if self._ask_again_at is not None and self._clock.now() < self._ask_again_at:
            raise self._down
        try:
            await self._settle()
            result = await act(self._counters)
        except self._down:
            self._degrade(self._clock.now() + ASK_AGAIN_AFTER)
            raise
        self._degrade(None)
        return result

    async def _settle(self) -> None:
        while self._owed:
            act = self._owed.popleft()
            try:
                await act(self._counters)
            except (self._down, asyncio.CancelledError):
                self._owed.appendleft(act)
                raise

    def _degrade(self, until: datetime | None) -> None:
        if until is not None and self._ask_again_at is None:
            self._log.warning("throttle.degraded", throttle=self._name, reason="the cache does not answer")
        if until is None and self._ask_again_at is not None:
            self._log.info("throttle.recovered", throttle=self._name)
        self._ask_again_at = until

    async def _reserve(
        self, counters: Counters, pair: str, address: str, behind: str | None
    ) -> ThrottleSlot | timedelta:
        """Return the counted attempt, or how long to wait."""
        spent = await self._spend(counters, address)
        if isinstance(spent, timedelta):
            return spent
        block = _Block.read(await counters.get(pair))
        left = block.until - self._now
        if left > 0:
            return timedelta(seconds=left)
        current, previous = self._windows(pair, "tried", block.round)
        tried_before = await _count(counters, previous)
        tried = await counters.increment(current, ttl=self._memory) + tried_before
        slot = ThrottleSlot(counters, pair, behind, (current,), spent)
        try:
            if tried > self._failures:
                await self._take_back(counters, current)
                return WHILE_OTHERS_ARE_UNDER_WAY
            return slot if behind is None else await self._reserve_behind(slot, behind)
        except self._down:  # counted with the spare counters now
            self._owed.append(partial(self._take_back, key=current))
            raise

    async def _reserve_behind(self, slot: ThrottleSlot, behind: str) -> ThrottleSlot:
        """Count the attempt for the account as well. The cache is asked the same whether its limit is reached.

        Nothing is counted during a block, so that attempts which were not judged do not make it longer.
        """
        counters, block = slot.counters, _Block.read(await slot.counters.get(behind))
        blocked = block.until > self._now
        current, previous = self._windows(behind, "tried", block.round)
        tried_before = await _count(counters, previous)
        tried = await counters.increment(current, ttl=self._memory, by=0 if blocked else 1) + tried_before
        counted = slot.counted if blocked else (*slot.counted, current)
        return replace(slot, counted=counted, exhausted=blocked or tried > self._failures * OF_ACCOUNT)

    async def _take_back(self, counters: Counters, key: str, *, ttl: timedelta | None = None) -> None:
        ttl = ttl or self._memory
        if await counters.increment(key, ttl=ttl, by=-1) < 0:  # cleared meanwhile, so undo the decrement
            await counters.increment(key, ttl=ttl)

    async def _fail(self, counters: Counters, name: str, allowed: int) -> None:
        block = _Block.read(await counters.get(name))
        current, previous = self._windows(name, "failed", block.round)
        by = 0 if block.until > self._now else 1
        failed = await counters.increment(current, ttl=self._memory, by=by) + await _count(counters, previous)
        if failed >= allowed:
            length = min(self._block * (1 << min(block.level, 30)), self._block_max)
            blocked = _Block(block.round + 1, block.level + 1, self._now + length.total_seconds())
            await counters.set(name, blocked.written(), ttl=length + self._memory)

    async def _clear(self, counters: Counters, name: str) -> None:
        number = _Block.read(await counters.get(name)).round
        if number == 0:  # never blocked, like most pairs: there is no round to remember
            await counters.delete(*self._windows(name, "tried", 0), *self._windows(name, "failed", 0))
        else:
            await counters.set(name, _Block(number + 1).written(), ttl=self._memory)

    async def _spend(self, counters: Counters, address: str) -> _Spent | timedelta:
        """Spend one attempt of a sliding window; return what was spent, or how long to wait where it does not fit.

        The previous period counts in proportion to its share of the window. The strategies of `limits` take the time
        from the storage, and its sliding windows need scripts in it. Two counters and our clock work with any cache.
        The notation is that of `limits`.
        """
        window, elapsed = divmod(self._now, self._period)
        key, share = f"{address}:{int(window)}", elapsed / self._period
        ttl = self._memory_of_budget
        current = await counters.increment(key, ttl=ttl)
        previous = await _count(counters, f"{address}:{int(window) - 1}")
        if current + previous * (1 - share) <= self._per_ip:
            return _Spent(counters, key)
        current = await counters.increment(key, ttl=ttl, by=-1)
        return timedelta(seconds=self._wait(current, previous, share) * self._period)

    def _wait(self, current: int, previous: int, share: float) -> float:
        """Return after how many periods one more attempt fits."""
        room = self._per_ip - 1
        if current <= room and previous:
            return max(0.0, 1 - (room - current) / previous - share)
        return 1 - share + max(0.0, 1 - room / max(current, 1))

    def _windows(self, pair: str, what: str, number: int) -> tuple[str, str]:
        """Return the counters of this window and the previous one, which together cover at least `block_max`."""
        window = int(self._now / self._block_max.total_seconds())
        return f"{pair}:{what}:{number}:{window}", f"{pair}:{what}:{number}:{window - 1}"

    @property
    def _memory(self) -> timedelta:
        return 2 * self._block_max

    @property
    def _memory_of_budget(self) -> timedelta:
        return timedelta(seconds=2 * self._period)

    @property
    def _now(self) -> float:
        return self._clock.now().timestamp()

    # Each of the three is a kind of its own in the cache: none evicts counters of another.

    def _names(self, subject: str, ip: str) -> tuple[str, str]:
        network = network_of(ip)
        return f"{self._name}.pair:{self._hash(subject, network)}", f"{self._name}.ip:{self._hash(network)}"

    def _account(self, account: str | None, ip: str) -> str | None:
        return account and f"{self._name}.account:{self._hash(account, network_of(ip))}"

    def _hash(self, *parts: str) -> str:
        text = "\0".join(f"{len(part)}:{part}" for part in parts)
        return hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), "sha256")[:16].hex()


async def _count(counters: Counters, key: str) -> int:
    return int(await counters.get(key) or 0)


def network_of(ip: str) -> str:
    """Return what one customer controls: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return ip
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), 64), strict=False))
