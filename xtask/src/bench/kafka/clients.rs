//! The load generators: librdkafka's `rdkafka_performance`, and the performance tools of Kafka's own Java client.

use anyhow::{Context, Result, bail};

use super::super::engine::{Engine, load};
use super::Topic;

/// As Kafka's scripts start the tools, with a heap that fits beside the brokers.
const JAVA: [&str; 4] = ["java", "-Xmx512m", "-XX:+UseG1GC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"];

/// Who produces and consumes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// The faster of the two, so that the server is the limit as far as possible.
    Librdkafka,
    Java,
}

/// Records a second, and latencies in milliseconds at the median and the 99th percentile, zero where they are not told.
pub type Told = (f64, f64, f64);

/// Where the tools are.
pub struct Tools {
    jars: String,
    rdkafka_performance: String,
}

impl Tools {
    /// The real engine brings them with it.
    pub fn of(real: &Engine) -> Result<Tools> {
        let rdkafka_performance = real.variable("RDKAFKA_PERFORMANCE")?.to_owned();
        Ok(Tools { jars: real.variable("JARS")?.to_owned(), rdkafka_performance })
    }

    pub fn create(&self, topic: &Topic<'_>, replicas: u32) -> Result<()> {
        let (partitions, replicas) = (topic.partitions.to_string(), replicas.to_string());
        let words =
            ["--create", "--topic", &topic.name, "--partitions", &partitions, "--replication-factor", &replicas];
        self.topics(topic.servers, &words)
    }

    /// Deletes all topics whose names begin so.
    pub fn delete(&self, servers: &str, prefix: &str) -> Result<()> {
        self.topics(servers, &["--delete", "--topic", &format!("{prefix}.*")])
    }

    fn topics(&self, servers: &str, words: &[&str]) -> Result<()> {
        let words = [&["--bootstrap-server", servers], words].concat();
        load(&self.java("org.apache.kafka.tools.TopicCommand", &words)).map(|_| ())
    }

    pub fn produce(&self, client: Client, topic: &Topic<'_>, record_bytes: u32, acks: &str) -> Result<Told> {
        let (count, bytes) = (topic.records.to_string(), record_bytes.to_string());
        if client == Client::Librdkafka {
            let words = ["-P", "-t", &topic.name, "-c", &count, "-s", &bytes, "-a", acks];
            return parse_librdkafka(&load(&self.librdkafka(topic.servers, &words))?);
        }
        let (bootstrap, acks) = (format!("bootstrap.servers={}", topic.servers), format!("acks={acks}"));
        let words = ["--topic", &topic.name, "--num-records", &count, "--record-size", &bytes, "--throughput", "-1"];
        let words = [&words[..], &["--producer-props", &bootstrap, &acks]].concat();
        parse_java_producer(&load(&self.java("org.apache.kafka.tools.ProducerPerformance", &words))?)
    }

    pub fn consume(&self, client: Client, topic: &Topic<'_>) -> Result<Told> {
        let count = topic.records.to_string();
        if client == Client::Librdkafka {
            let partitions: Vec<String> = (0..topic.partitions).map(|index| index.to_string()).collect();
            let mut words = vec!["-C", "-t", &topic.name, "-c", &count, "-o", "beginning"];
            words.extend(partitions.iter().flat_map(|index| ["-p", index]));
            return parse_librdkafka(&load(&self.librdkafka(topic.servers, &words))?);
        }
        let words = ["--bootstrap-server", topic.servers, "--topic", &topic.name];
        let words = [&words[..], &["--messages", &count, "--timeout", "60000"]].concat();
        parse_java_consumer(&load(&self.java("org.apache.kafka.tools.ConsumerPerformance", &words))?)
    }

    fn librdkafka(&self, servers: &str, words: &[&str]) -> Vec<String> {
        [&[self.rdkafka_performance.as_str(), "-b", servers], words].concat().into_iter().map(str::to_owned).collect()
    }

    fn java(&self, class: &str, words: &[&str]) -> Vec<String> {
        [&JAVA[..], &["-cp", &self.jars, class], words].concat().into_iter().map(str::to_owned).collect()
    }
}

/// The rate in the last summary: `% … delivered (…) in 10ms: 100000 msgs/s and …` of a producer, `% … consumed in …` of a consumer.
pub fn parse_librdkafka(printed: &str) -> Result<Told> {
    let rate = |line: &str| line.split_once(" msgs/s")?.0.rsplit(' ').next()?.parse::<f64>().ok();
    let rate = printed.lines().rev().find_map(rate).context("rdkafka_performance printed no summary")?;
    Ok((rate, 0.0, 0.0))
}

/// Throughput, median and 99th percentile from the producer's last line:
/// `N records sent, X records/sec (…), … ms avg latency, … ms max latency, … ms 50th, … ms 95th, … ms 99th, … ms 99.9th.`
pub fn parse_java_producer(printed: &str) -> Result<Told> {
    let line = printed.lines().rev().find(|line| line.contains(" 99th")).context("the producer printed no summary")?;
    let before = |mark: &str| -> Option<f64> {
        let head = &line[..line.find(mark)?];
        head.rsplit([' ', ',']).find(|word| !word.is_empty())?.parse().ok()
    };
    let throughput = before(" records/sec").context("the producer printed no throughput")?;
    Ok((throughput, before(" ms 50th").unwrap_or(0.0), before(" ms 99th").unwrap_or(0.0)))
}

/// Records a second while fetching, the last of the columns that the consumer prints; it tells no latencies.
pub fn parse_java_consumer(printed: &str) -> Result<Told> {
    let line =
        printed.lines().rev().find(|line| line.split(", ").count() == 10).context("the consumer printed no result")?;
    let Some(Ok(throughput)) = line.rsplit(", ").next().map(|field| field.trim().parse::<f64>()) else {
        bail!("the consumer printed {line}")
    };
    Ok((throughput, 0.0, 0.0))
}
