"""The second half of the usual architecture: BLPOP, one HTTP client to the detector, SQLAlchemy async into SQLite.

    python bench/baselines/worker.py DATABASE REDIS_URL DETECTOR_URL

One picture after the other. Which event of a camera is open is a Redis hash; an event is published when its first
picture is stored. (Where it is published when its batch closes, as is usual, readers hear of it 30 s later.)
"""

import asyncio
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import httpx
import redis.asyncio
from sqlalchemy import ForeignKey, event
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

IDLE_SECONDS, WINDOW_SECONDS = 30, 90


class Base(DeclarativeBase):
    pass


class Event(Base):
    __tablename__ = "events"
    id: Mapped[int] = mapped_column(primary_key=True)
    camera: Mapped[str] = mapped_column(index=True)
    first: Mapped[float]
    last: Mapped[float]


class Picture(Base):
    __tablename__ = "pictures"
    id: Mapped[int] = mapped_column(primary_key=True)
    camera: Mapped[str] = mapped_column(index=True)
    path: Mapped[str] = mapped_column(unique=True)
    taken: Mapped[float]
    event_id: Mapped[int | None] = mapped_column(ForeignKey("events.id"))


class Detection(Base):
    __tablename__ = "detections"
    id: Mapped[int] = mapped_column(primary_key=True)
    picture_id: Mapped[int] = mapped_column(ForeignKey("pictures.id"), index=True)
    label: Mapped[str]
    score: Mapped[float]
    box: Mapped[str]


def taken_at(path):
    return datetime.strptime(path.name[:19], "%Y%m%d_%H%M%S_%f").replace(tzinfo=UTC).timestamp()


async def detect(client, path):
    answer = await client.post("/detect", files={"file": (path.name, path.read_bytes(), "image/jpeg")})
    return answer.raise_for_status().json()["detections"]


async def store(session, server, camera, path, taken, boxes):
    """Insert the picture and its boxes; return the event if it opened one."""
    key = f"batch:{camera}"
    batch = await server.hgetall(key)
    joins = batch and taken - float(batch["last"]) < IDLE_SECONDS and taken - float(batch["first"]) < WINDOW_SECONDS
    async with session() as db:
        if joins:
            found, first = await db.get(Event, int(batch["event"])), float(batch["first"])
            found.last = taken
        else:
            found, first = Event(camera=camera, first=taken, last=taken), taken
            db.add(found)
            await db.flush()
        picture = Picture(camera=camera, path=str(path), taken=taken, event_id=found.id)
        db.add(picture)
        await db.flush()
        for box in boxes:
            where = json.dumps(box["bbox"])
            db.add(Detection(picture_id=picture.id, label=box["class"], score=box["confidence"], box=where))
        await db.commit()
        await server.hset(key, mapping={"event": found.id, "first": first, "last": taken})
    return None if joins else found.id


def durable(connection, _):
    for pragma in ("journal_mode = WAL", "synchronous = FULL"):
        connection.execute(f"PRAGMA {pragma}")


async def work(database, redis_url, detector_url):
    engine = create_async_engine(f"sqlite+aiosqlite:///{database}")
    event.listen(engine.sync_engine, "connect", durable)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    session = async_sessionmaker(engine, expire_on_commit=False)
    server = redis.asyncio.Redis.from_url(redis_url, decode_responses=True)
    async with httpx.AsyncClient(base_url=detector_url, timeout=30) as client:
        while True:
            _, name = await server.blpop("pictures")
            path = Path(name)
            boxes = await detect(client, path)
            opened = await store(session, server, path.parent.name, path, taken_at(path), boxes)
            if opened:
                await server.publish("events", json.dumps({"id": opened, "path": name}))


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[1:]))
