use crate::kv::{Durability, KEY_BYTES_MAX, Kv, KvError};

fn both(test: impl Fn(Kv)) {
    test(Kv::memory());
    let directory = tempfile::tempdir().expect("makes a directory");
    test(Kv::open(directory.path()).expect("opens"));
}

fn pairs(of: &[(&str, &str)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    of.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

#[test]
fn keys_are_put_read_and_deleted() {
    both(|kv| {
        let pods = kv.keyspace("pods").expect("opens");
        let services = kv.keyspace("services").expect("opens");
        pods.put(b"default/web", b"1").expect("writes");
        pods.put(b"default/web", b"2").expect("overwrites");
        assert_eq!(pods.get(b"default/web"), Ok(Some(b"2".to_vec())));
        assert_eq!(services.get(b"default/web"), Ok(None));
        assert_eq!(kv.keyspace("pods").expect("opens").get(b"default/web"), Ok(Some(b"2".to_vec())));
        pods.delete(b"default/web").expect("deletes");
        pods.delete(b"default/web").expect("is gone already");
        assert_eq!(pods.get(b"default/web"), Ok(None));
    });
}

#[test]
fn a_prefix_is_scanned_in_order_and_in_pages() {
    both(|kv| {
        let keys = kv.keyspace("keys").expect("opens");
        for key in ["b/2", "a", "b/1", "b/3", "c", "b"] {
            keys.put(key.as_bytes(), b"v").expect("writes");
        }
        assert_eq!(keys.scan(b"b/", 10), Ok(pairs(&[("b/1", "v"), ("b/2", "v"), ("b/3", "v")])));
        assert_eq!(keys.scan(b"b/", 2), Ok(pairs(&[("b/1", "v"), ("b/2", "v")])));
        assert_eq!(keys.scan_after(b"b/", b"b/2", 2), Ok(pairs(&[("b/3", "v")])));
        assert_eq!(keys.scan_after(b"b/", b"a", 1), Ok(pairs(&[("b/1", "v")])), "a page that begins before the prefix");
        assert_eq!(keys.scan_after(b"b/", b"c", 1), Ok(Vec::new()));
        assert_eq!(keys.scan(b"", 10).map(|found| found.len()), Ok(6));
        assert_eq!(keys.scan(b"z", 10), Ok(Vec::new()));
    });
}

#[test]
fn a_batch_is_written_as_a_whole_and_the_last_write_to_a_key_counts() {
    both(|kv| {
        let (a, b) = (kv.keyspace("a").expect("opens"), kv.keyspace("b").expect("opens"));
        a.put(b"old", b"1").expect("writes");
        let mut batch = kv.batch();
        batch.delete(&a, b"old").expect("is added");
        batch.put(&a, b"key", b"1").expect("is added");
        batch.put(&a, b"key", b"2").expect("is added");
        batch.put(&b, b"key", b"3").expect("is added");
        assert_eq!(a.get(b"key"), Ok(None));
        batch.commit(Durability::Synced).expect("commits");
        assert_eq!(a.scan(b"", 10), Ok(pairs(&[("key", "2")])));
        assert_eq!(b.get(b"key"), Ok(Some(b"3".to_vec())));
        kv.batch().commit(Durability::Written).expect("an empty batch is nothing");
        kv.persist(Durability::Synced).expect("persists");
    });
}

#[test]
fn impossible_keys_and_names_are_refused() {
    both(|kv| {
        let keys = kv.keyspace("keys").expect("opens");
        let long = vec![b'k'; KEY_BYTES_MAX];
        keys.put(&long, b"v").expect("writes");
        assert_eq!(keys.get(&long), Ok(Some(b"v".to_vec())));
        let longer = vec![b'k'; KEY_BYTES_MAX + 1];
        assert_eq!(keys.put(&longer, b"v"), Err(KvError::InvalidKey { bytes: KEY_BYTES_MAX + 1 }));
        assert_eq!(keys.get(b""), Err(KvError::InvalidKey { bytes: 0 }));
        assert_eq!(kv.batch().put(&keys, b"", b"v"), Err(KvError::InvalidKey { bytes: 0 }));
        assert!(matches!(kv.keyspace(""), Err(KvError::InvalidName(_))));
        assert!(matches!(kv.keyspace(&"n".repeat(256)), Err(KvError::InvalidName(_))));
    });
}

#[test]
fn a_store_is_found_again_and_opened_once() {
    let directory = tempfile::tempdir().expect("makes a directory");
    let kv = Kv::open(directory.path()).expect("opens");
    kv.keyspace("keys").expect("opens").put(b"key", b"value").expect("writes");
    let mut batch = kv.batch();
    batch.put(&kv.keyspace("keys").expect("opens"), b"batched", b"value").expect("is added");
    batch.commit(Durability::Written).expect("commits");
    assert_eq!(Kv::open(directory.path()).map(|_| ()), Err(KvError::Locked));
    drop(kv);
    let kv = Kv::open(directory.path()).expect("opens again");
    let keys = kv.keyspace("keys").expect("opens");
    assert_eq!(keys.scan(b"", 10), Ok(pairs(&[("batched", "value"), ("key", "value")])));
}
