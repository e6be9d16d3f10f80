"""redis-py's asyncio client: many tasks on one pool, pipelines, blocking pops, pub/sub, and the cluster client."""

import asyncio
import os

import redis.asyncio as redis
from redis.asyncio.cluster import ClusterNode, RedisCluster

from harness.check import check, end, equal

NODES = [node.rsplit(":", 1) for node in os.environ["REDIS_NODES"].split(",")]


def asynchronous(name: str):
    """A check whose body is a coroutine that gets a cluster client of its own."""

    def run(function):
        async def body():
            nodes = [ClusterNode(host, int(port)) for host, port in NODES]
            cluster = RedisCluster(startup_nodes=nodes, decode_responses=True)
            try:
                await cluster.initialize()
                await asyncio.wait_for(function(cluster), 20)
            finally:
                await cluster.aclose()

        check(f"redis-py asyncio: {name}")(lambda: asyncio.run(body()))

    return run


@asynchronous("two hundred tasks write and read over all shards")
async def _(cluster):
    async def one(number: int):
        await cluster.set(f"async:{number}", number)
        return await cluster.get(f"async:{number}")

    equal(await asyncio.gather(*(one(number) for number in range(200))), [str(number) for number in range(200)])


@asynchronous("a pipeline over one slot")
async def _(cluster):
    pipe = cluster.pipeline()
    for number in range(100):
        pipe.incrby("{pipe}total", number)
    equal((await pipe.execute())[-1] % 4950, 0)


@asynchronous("BLPOP is woken by another task")
async def _(cluster):
    node = cluster.get_node_from_key("{async}queue")
    waiter_client = redis.Redis(host=node.host, port=node.port, decode_responses=True)
    pusher = redis.Redis(host=node.host, port=node.port, decode_responses=True)
    waiter = asyncio.create_task(waiter_client.blpop(["{async}queue"], timeout=10))
    while (await pusher.info("clients"))["blocked_clients"] < 1:
        await asyncio.sleep(0.01)
    await pusher.rpush("{async}queue", "x")
    equal(list(await waiter), ["{async}queue", "x"])
    await waiter_client.aclose()
    await pusher.aclose()


@asynchronous("a cancelled BLPOP leaves the item for others")
async def _(cluster):
    node = cluster.get_node_from_key("{cancel}queue")
    client = redis.Redis(host=node.host, port=node.port, decode_responses=True)
    doomed = redis.Redis(host=node.host, port=node.port, decode_responses=True)
    waiter = asyncio.create_task(doomed.blpop(["{cancel}queue"], timeout=10))
    while (await client.info("clients"))["blocked_clients"] < 1:
        await asyncio.sleep(0.01)
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
    await doomed.aclose()
    while (await client.info("clients"))["blocked_clients"] > 0:
        await asyncio.sleep(0.01)
    await client.rpush("{cancel}queue", "kept")
    equal(await client.lrange("{cancel}queue", 0, -1), ["kept"])
    await client.aclose()


@asynchronous("pub/sub across the nodes of the cluster")
async def _(cluster):
    first, second = (redis.Redis(host=host, port=int(port), decode_responses=True) for host, port in NODES[:2])
    listener = first.pubsub()
    await listener.subscribe("async-news")
    seen = []
    async for message in listener.listen():
        seen.append(message["type"])
        if message["type"] == "subscribe":
            await second.publish("async-news", "hello")
        else:
            equal(message["data"], "hello")
            break
    equal(seen, ["subscribe", "message"])
    await listener.aclose()
    await first.aclose()
    await second.aclose()


end()
