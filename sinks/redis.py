"""Publish events, incidents and system messages to Redis: a pub/sub channel for live readers, a stream for those that catch up.

At least once, in order of `seq`; dedupe by (`schema`, id, `revision`). The stream holds each row once, because its entry
ids are the feed's numbers, and it holds about the last 10,000. It is a mirror that resumes from the stream's own
last id, so whatever Redis lost (a crash, a restart, FLUSHALL) is filled in again from the feed. A Redis that is down,
hung or slow delays messages and nothing else. One stream for each cell, and one channel for all.
The message is `Message.as_dict` in `schemas/messages.py`, the same for every receiver.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlsplit

import redis
from pydantic import Field
from redis.backoff import NoBackoff
from redis.retry import Retry

from hearthwatch.record import Record, now
from hearthwatch.schemas import Consumer, Mirror
from hearthwatch.schemas.context import Cell, Context
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.settings import from_settings, masked

log = logging.getLogger(__name__)

STREAM_MAX = 10_000  # x 1 kB: Redis keeps a little more, whole nodes of about 100 entries
ROWS_MAX = 200  # in one script: 1 ms in which Redis serves no other client
PUBLISHED_MAX = 60_000_000  # microseconds; what is older is appended to the stream alone
CONNECT_SECONDS, ANSWER_SECONDS = 1.0, 2.0  # redis-py's own retries would hold a call for 5 s on a dead server

NOTHING = -1  # no stream ends there

# All in one step, which Redis runs whole or not at all: rows are appended and published only to a stream that ends where
# we think. So a call that is repeated after a lost answer, or runs late, neither doubles a row nor leaves one out.
PUSH = """
local stream, owner, ours, expected, refused = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local last, replaced = 0, 0
if redis.call('EXISTS', stream) == 1 then
  local info = redis.call('XINFO', 'STREAM', stream)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = tonumber(string.match(info[i + 1], '^%d+')) end
  end
end
if redis.call('GET', owner) ~= ours or last == refused then
  replaced, last = redis.call('EXISTS', stream), 0
  local groups = replaced == 1 and redis.call('XINFO', 'GROUPS', stream) or {}
  if #groups == 0 then
    redis.call('DEL', stream)
  else  -- a group would be lost with its key: it reads on from the beginning
    redis.call('XTRIM', stream, 'MAXLEN', 0)
    local reset = redis.pcall('XSETID', stream, '0-0', 'ENTRIESADDED', 0, 'MAXDELETEDID', '0-0')
    if type(reset) == 'table' and reset.err then redis.call('XSETID', stream, '0-0') end  -- before Redis 7
    for _, group in ipairs(groups) do
      for i = 1, #group, 2 do
        if group[i] == 'name' then redis.call('XGROUP', 'SETID', stream, group[i + 1], '0') end
      end
    end
  end
  redis.call('SET', owner, ours)
end
if last ~= expected then return {last, replaced} end
for i = 6, #ARGV, 3 do
  redis.call('XADD', stream, 'MAXLEN', '~', ARGV[4], ARGV[i] .. '-0', 'data', ARGV[i + 1])
  if ARGV[i + 2] == '1' then redis.call('PUBLISH', ARGV[5], ARGV[i + 1]) end
  last = tonumber(ARGV[i])
end
return {last, replaced}
"""


# Which of the commands above this user may not call; Redis 7 and later can say so.
REFUSED = """
local refused = {}
if redis.acl_check_cmd then
  local stream, owner, channel = KEYS[1], KEYS[2], ARGV[1]
  for _, cmd in ipairs({{'exists', stream}, {'xinfo', 'stream', stream}, {'xinfo', 'groups', stream}, {'get', owner}, {'set', owner, ''},
      {'del', stream}, {'xtrim', stream, 'maxlen', 0}, {'xsetid', stream, '0-0'}, {'xgroup', 'setid', stream, 'g', '0'},
      {'xadd', stream, '*', 'data', ''}, {'publish', channel, ''}}) do
    if not redis.acl_check_cmd(unpack(cmd)) then table.insert(refused, string.upper(cmd[1])) end
  end
end
return refused
"""
CLIENT_NAME = "hearthwatch"


class Redis(Consumer):
    """Publish each message of the feed, of events, incidents and the system, to a Redis channel and stream."""

    whole = True

    url: Annotated[str | None, Field(repr=False)] = from_settings("redis_url")
    """Where Redis is, such as `redis://localhost:6379/0`; unset: nothing is published."""
    channel: str = from_settings("hearthwatch_redis_channel")
    """Pub/sub channel; the stream is `<channel>:stream`, of a further cell `<channel>:<cell>:stream`."""

    def label(self) -> str:
        return f"{self.channel} at {urlsplit(self.url).hostname or 'a socket'}" if self.url else self.channel

    def off(self) -> str | None:
        return None if self.url else "REDIS_URL is not set: events are not published"

    def probe(self) -> str:
        assert self.url, "it is off"
        name = masked("REDIS_URL", self.url)
        try:
            with connect(self.url) as client:
                server = client.info("server")
                mode = server.get("redis_mode") or server.get("server_mode", "standalone")  # Valkey has the second
                if mode != "standalone":
                    raise UserError(f"{name} is a {mode}, which is not supported: give one server's address")
                keys = (f"{self.channel}:stream", f"{self.channel}:stream:store_id")
                if refused := client.eval(REFUSED, 2, *keys, self.channel):
                    names = ", ".join(dict.fromkeys(command.decode() for command in refused))
                    raise UserError(
                        f"{name}: this user may not call {names} for {self.channel}: docs/redis.md has its ACL"
                    )
                return f"{name}: Redis {server['redis_version']}"
        except (redis.RedisError, OSError, ValueError) as error:
            raise UserError(f"{name}: {error}: start Redis, fix REDIS_URL, or unset it") from None

    def build(self, context: Context) -> RedisMirror:
        return RedisMirror(self, context)


def connect(url: str) -> redis.Redis:
    """Make a client that does not retry."""
    retry = Retry(NoBackoff(), 0)
    return redis.Redis.from_url(
        url, retry=retry, socket_connect_timeout=CONNECT_SECONDS, socket_timeout=ANSWER_SECONDS, client_name=CLIENT_NAME
    )


def stream_of(channel: str, cell: Cell | None) -> str:
    """Return what a cell's stream is called after: that of cell 0 is the one of a data dir with one cell."""
    return f"{channel}:{cell.name}" if cell and cell.number else channel


class RedisMirror(Mirror):
    """The feed on one side, Redis on the other, and the number of the last row that is on both."""

    def __init__(self, options: Redis, context: Context) -> None:
        self.options, self.context = options, context
        channel = stream_of(options.channel, context.cell)
        self.channel, self.stream = options.channel, f"{channel}:stream"
        self.last = 0

    def open(self) -> None:
        """Connect. Raises redis.RedisError."""
        assert self.options.url
        self.record = Record(self.context.record_path)
        self.client = connect(self.options.url)
        self._script = self.client.register_script(PUSH)

    def catch_up(self) -> int:
        """Bring the stream to the feed's end, from wherever it is, and return the number of its last row.

        Called when the feed grew, and once a second, so a Redis that came back empty is filled again.

        Raises:
            redis.RedisError: call again to continue.
        """
        while True:
            newest = self._newest_seq()
            rows = self._read_rows(self.last, newest)
            wanted = rows[-1][0] if rows else self.last
            self.last = self._push(newest, rows)
            if self.last == wanted and len(rows) < ROWS_MAX:
                return self.last

    def _newest_seq(self) -> int:
        """Return the highest number that the feed ever had, whatever of it was pruned."""
        (seq,) = self.record.one("SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'feed'), 0)")
        return int(seq)

    def _read_rows(self, seq: int, newest: int) -> list[tuple[int, str, int]]:
        """Read what to append to a stream that ends at `seq`: (number, payload, whether to publish it, too)."""
        since = seq
        if newest - seq > STREAM_MAX:  # it gets no more than it can hold; numbers have gaps
            oldest = self.record.one("SELECT seq FROM feed ORDER BY seq DESC LIMIT 1 OFFSET ?", STREAM_MAX)
            since = max(seq, oldest[0] if oldest else 0)
        sql = "SELECT seq, payload, ? - at < ? FROM feed WHERE seq > ? ORDER BY seq LIMIT ?"
        return self.record.rows(sql, now(), PUBLISHED_MAX, since, ROWS_MAX)

    def _push(self, newest: int, rows: Sequence[tuple[int, str, int]]) -> int:
        """Append these if the stream ends where we think, and return the number of its last row."""
        refused = self.last if self.last > newest else NOTHING  # a record restored from a backup has yet to come there
        head = (self.record.store_id, self.last, refused, STREAM_MAX, self.channel)
        keys = (self.stream, f"{self.stream}:store_id")
        last, replaced = self._script(keys=keys, args=[*head, *(value for row in rows for value in row)])
        if replaced:
            log.warning(
                "%s held the events of another record, or of a later state of this one: it is replaced", self.stream
            )
        return int(last)

    def close(self) -> None:
        self.client.close()
        self.record.close()
