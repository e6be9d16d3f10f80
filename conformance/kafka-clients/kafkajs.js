// kafkajs, the client of Node programs: administration, producing, groups.
"use strict";
const { Kafka, logLevel, CompressionTypes } = require("kafkajs");
const { check, equal, finish } = require("../harness/check.js")("kafkajs");

const run = `${process.pid}-${Date.now()}`;
const kafka = new Kafka({ clientId: "conformance", brokers: process.env.KAFKA_BOOTSTRAP_SERVERS.split(","), logLevel: logLevel.NOTHING });

// Tries until nothing is thrown: each broker answers from its own view, and one may learn of a change later than another.
async function patiently(body) {
  const deadline = Date.now() + 20000;
  for (;;) {
    try {
      return await body();
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function create(admin, topic, numPartitions) {
  return patiently(() => admin.createTopics({ topics: [{ topic, numPartitions, replicationFactor: 3 }], waitForLeaders: true }));
}

// Resolves with the first `count` messages that the group reads, then leaves the group.
async function read(topic, groupId, count) {
  const consumer = kafka.consumer({ groupId, sessionTimeout: 6000, heartbeatInterval: 500 });
  const seen = [];
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  const enough = new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`only ${seen.length} of ${count} messages within 30 s`)), 30000).unref();
    consumer.run({
      eachMessage: async ({ message, partition }) => {
        seen.push({ partition, offset: message.offset, value: message.value.toString(), headers: message.headers });
        if (seen.length === count) resolve(seen);
      },
    });
  });
  try {
    return await enough;
  } finally {
    await consumer.disconnect();
  }
}

async function main() {
  const admin = kafka.admin();
  const topic = `kafkajs-${run}`;
  await admin.connect();

  await check("describes the cluster", async () => {
    const cluster = await admin.describeCluster();
    equal(cluster.brokers.map((broker) => broker.nodeId).sort(), [1, 2, 3]);
  });

  await check("creates a topic and waits for its leaders", async () => {
    await create(admin, topic, 3);
    const metadata = await patiently(() => admin.fetchTopicMetadata({ topics: [topic] }));
    equal(metadata.topics[0].partitions.length, 3);
  });

  const producer = kafka.producer({ allowAutoTopicCreation: false });
  await producer.connect();

  await check("sends with keys and headers", async () => {
    const messages = [...Array(30).keys()].map((number) => ({ key: `k${number}`, value: `v${number}`, headers: { h: "x" } }));
    const sent = await producer.send({ topic, messages, acks: -1 });
    equal(sent.every((part) => part.errorCode === 0), true);
  });

  await check("reads in a group", async () => {
    const seen = await read(topic, `kafkajs-${run}`, 30);
    equal(seen.map((message) => message.value).sort(), [...Array(30).keys()].map((number) => `v${number}`).sort());
    equal(seen[0].headers.h.toString(), "x");
  });

  await check("compresses with gzip", async () => {
    const name = `${topic}-gzip`;
    await create(admin, name, 1);
    await producer.send({ topic: name, compression: CompressionTypes.GZIP, messages: [{ value: "a" }, { value: "b" }] });
    equal((await read(name, `${name}-group`, 2)).map((message) => message.value), ["a", "b"]);
  });

  await check("an idempotent producer", async () => {
    const exact = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
    const name = `${topic}-idempotent`;
    await create(admin, name, 1);
    await exact.connect();
    for (let number = 0; number < 10; number += 1) await exact.send({ topic: name, messages: [{ value: String(number) }] });
    await exact.disconnect();
    equal((await read(name, `${name}-group`, 10)).map((message) => message.offset), [...Array(10).keys()].map(String));
  });

  await check("offsets of topic and group", async () => {
    const ends = await admin.fetchTopicOffsets(topic);
    equal(ends.reduce((sum, part) => sum + Number(part.high), 0), 30);
    const committed = await admin.fetchOffsets({ groupId: `kafkajs-${run}`, topics: [topic] });
    equal(committed[0].partitions.reduce((sum, part) => sum + Math.max(0, Number(part.offset)), 0), 30);
  });

  await check("lists, describes and deletes groups", async () => {
    const { groups } = await admin.listGroups();
    equal(groups.some((group) => group.groupId === `kafkajs-${run}`), true);
    const described = await admin.describeGroups([`kafkajs-${run}`]);
    equal(described.groups[0].state, "Empty");
    equal((await admin.deleteGroups([`kafkajs-${run}`]))[0].errorCode, 0);
  });

  await check("deletes topics", async () => {
    await admin.deleteTopics({ topics: [topic] });
    await patiently(async () => equal((await admin.listTopics()).includes(topic), false));
  });

  await producer.disconnect();
  await admin.disconnect();
}

finish(main);
