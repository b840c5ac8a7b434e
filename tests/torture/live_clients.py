"""Browsers: so many Server-Sent Events clients, each of which comes back with the last id that it has noted.

    python tests/torture/live_clients.py PORT FOLDER COUNT

Each notes the position behind each message in FOLDER/<n>, one a line, as they come: the last number of each cell: after a kill of this process it continues
from there.
"""

import asyncio
import sys
from pathlib import Path

AGAIN_SECONDS = 0.3  # a browser waits so long before it comes back
SILENT_SECONDS = 15.0  # the status comes every two seconds; a server that says nothing for so long is left


async def heard(port, last):
    """The positions of the messages after `last`, until the server ends it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        lines = f"GET /api/live{'' if last else '?after=0'} HTTP/1.0\r\nHost: localhost\r\n"
        writer.write((lines + (f"Last-Event-ID: {last}\r\n" if last else "") + "\r\n").encode())
        id = event = None
        while line := (await asyncio.wait_for(reader.readline(), SILENT_SECONDS)).decode():
            if not line.endswith("\n"):
                return  # cut off in the middle
            name, _, value = line.strip().partition(": ")
            if name == "id":
                id = value.rpartition(".")[2]  # opaque to others; here the numbers are checked against the feeds
            elif name == "event":
                event = value
            elif not line.strip():
                if event in ("event", "incident", "system"):
                    yield id
                id = event = None
    finally:
        writer.close()


async def listen(port, notes):
    seqs = [line for line in notes.read_text().split("\n")[:-1] if line] if notes.exists() else []
    last = seqs[-1] if seqs else ""
    with notes.open("a", buffering=1) as out:
        while True:
            try:
                async for seq in heard(port, last):
                    out.write(f"{seq}\n")
                    last = seq
            except (OSError, TimeoutError):
                pass
            await asyncio.sleep(AGAIN_SECONDS)


async def main(port, folder, count):
    await asyncio.gather(*(listen(port, folder / str(n)) for n in range(count)))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
