// ioredis over TLS: one node, and the cluster.
"use strict";
const fs = require("fs");
const Redis = require("ioredis");
const { check, equal, finish } = require("../harness/check.js")("ioredis");

const nodes = process.env.REDIS_TLS_NODES.split(",").map((node) => {
  const [host, port] = node.split(":");
  return { host, port: Number(port) };
});
const tls = {
  ca: fs.readFileSync(process.env.REDIS_TLS_CA_FILE),
  cert: fs.readFileSync(process.env.REDIS_TLS_CERT_FILE),
  key: fs.readFileSync(process.env.REDIS_TLS_KEY_FILE),
};

async function main() {
  await check("one node", async () => {
    const client = new Redis({ ...nodes[0], tls });
    equal(await client.ping(), "PONG");
    client.disconnect();
  });

  await check("a server that is not trusted", async () => {
    const client = new Redis({ ...nodes[0], tls: { cert: tls.cert, key: tls.key }, retryStrategy: () => null });
    const reason = await new Promise((resolve) => client.once("error", resolve));
    if (!/certificate/.test(reason.message)) throw reason;
  });

  // Without a function of its own ioredis takes addresses for names that servers are to be asked for.
  const cluster = new Redis.Cluster(nodes, { dnsLookup: (address, callback) => callback(null, address), redisOptions: { tls, maxRetriesPerRequest: 3 } });

  await check("the cluster over all shards", async () => {
    const numbers = [...Array(500).keys()];
    await Promise.all(numbers.map((number) => cluster.set(`iotls:${number}`, number)));
    equal(await Promise.all(numbers.map((number) => cluster.get(`iotls:${number}`))), numbers.map(String));
    equal([...new Set(cluster.nodes("all").map((node) => node.options.port))].sort(), [6380, 6382]);
  });

  await check("a pipeline of one slot", async () => {
    equal(await cluster.pipeline().set("{io}a", "1").incr("{io}a").get("{io}a").exec(), [[null, "OK"], [null, 2], [null, "2"]]);
  });

  await check("pub/sub through the cluster", async () => {
    const listener = cluster.duplicate();
    await listener.subscribe("io-news");
    const heard = new Promise((resolve) => listener.on("message", (channel, text) => resolve([channel, text])));
    await cluster.publish("io-news", "hello");
    equal(await heard, ["io-news", "hello"]);
    listener.disconnect();
  });

  cluster.disconnect();
}

finish(main);
