// ioredis, the client that most Node programs use: one node, and the cluster with pipelines, transactions and pub/sub.
"use strict";
const Redis = require("ioredis");
const { check, equal, finish } = require("../harness/check.js")("ioredis");

const nodes = process.env.REDIS_NODES.split(",").map((node) => {
  const [host, port] = node.split(":");
  return { host, port: Number(port) };
});

async function main() {
  const cluster = new Redis.Cluster(nodes, { redisOptions: { maxRetriesPerRequest: 3 } });

  await check("connects to the cluster and names its nodes", async () => {
    await new Promise((resolve, reject) => {
      if (cluster.status === "ready") resolve();
      cluster.once("ready", resolve);
      cluster.once("error", reject);
    });
    // The pool fills while its connections are made, so the count is reached, not there at once.
    const count = () => [cluster.nodes("master").length, cluster.nodes("slave").length];
    for (let round = 0; round < 200 && count().join() !== "3,3"; round += 1) await cluster.ping();
    equal(count(), [3, 3]);
  });

  await check("writes and reads over all shards", async () => {
    const numbers = [...Array(500).keys()];
    await Promise.all(numbers.map((number) => cluster.set(`io:${number}`, number)));
    equal(await Promise.all(numbers.map((number) => cluster.get(`io:${number}`))), numbers.map(String));
  });

  await check("a pipeline of one slot", async () => {
    equal(await cluster.pipeline().set("{io}a", "1").incr("{io}a").get("{io}a").exec(), [[null, "OK"], [null, 2], [null, "2"]]);
  });

  await check("a transaction of one slot", async () => {
    equal(await cluster.multi().hset("{io}h", "f", "v").hgetall("{io}h").exec(), [[null, 1], [null, { f: "v" }]]);
  });

  await check("BLPOP waits for a push", async () => {
    const waiter = cluster.duplicate();
    const waiting = waiter.blpop("{io}queue", 10);
    await cluster.rpush("{io}queue", "item");
    equal(await waiting, ["{io}queue", "item"]);
    waiter.disconnect();
  });

  await check("buffers are bytes", async () => {
    const value = Buffer.from([...Array(256).keys()]);
    await cluster.set("io:bytes", value);
    equal((await cluster.getBuffer("io:bytes")).equals(value), true);
  });

  await check("pub/sub through the cluster", async () => {
    const listener = cluster.duplicate();
    await listener.subscribe("io-news");
    const heard = new Promise((resolve) => listener.on("message", (channel, text) => resolve([channel, text])));
    await cluster.publish("io-news", "hello");
    equal(await heard, ["io-news", "hello"]);
    listener.disconnect();
  });

  await check("scanStream over every primary", async () => {
    let found = 0;
    for (const node of cluster.nodes("master")) {
      for await (const keys of node.scanStream({ match: "io:[0-9]*", count: 200 })) found += keys.length;
    }
    equal(found, 500);
  });

  await check("an error reply is an error", async () => {
    try {
      await cluster.lpush("io:1", "x");
    } catch (error) {
      equal(error.message, "WRONGTYPE Operation against a key holding the wrong kind of value");
      return;
    }
    throw new Error("no error");
  });

  await check("reads from replicas", async () => {
    const reader = new Redis.Cluster(nodes, { scaleReads: "slave" });
    for (let attempt = 0; attempt < 200; attempt += 1) {
      if ((await reader.get("io:7")) === "7") break;
    }
    equal(await reader.get("io:7"), "7");
    reader.disconnect();
  });

  cluster.disconnect();
}

finish(main);
