//! Rules and what they come to.

use super::{Acl, Defaults, Denial, Log, Occasion, Reason, User, catalog};
use crate::config::Config;
use crate::core::find_command;
use crate::wire::OwnedRequest;

fn user(rules: &str) -> User {
    let mut user = User::new(b"someone", Defaults::default());
    user.apply_all(rules.split(' ').map(str::as_bytes), Defaults::default()).expect("rules");
    user
}

fn error(rules: &[&str]) -> String {
    let mut user = User::new(b"someone", Defaults::default());
    user.apply_all(rules.iter().map(|rule| rule.as_bytes()), Defaults::default()).expect_err("no rules").line()
}

fn commands(rules: &str) -> String {
    String::from_utf8(user(rules).selectors()[0].commands_text()).expect("text")
}

fn may(user: &User, request: &str) -> bool {
    let request = OwnedRequest::new(request.split(' ').map(str::as_bytes));
    let command = find_command(request.as_request()).expect("a command");
    user.check(command, request.as_request()).is_ok()
}

#[test]
fn rules_about_commands_are_shown_in_the_shortest_form_that_loses_nothing() {
    let cases = [
        ("+@all -@hash -@slow +hget", "+@all -@hash -@slow +hget"),
        ("+@all -@hash -@slow +hget -@hash", "+@all -@slow +hget -@hash"),
        ("+@all -@hash -@slow +hget +@hash", "+@all -@slow +hget +@hash"),
        ("-@string -@slow +@all", "+@all"),
        ("-@all +@HASH +@hash +@HaSh", "-@all +@hash"),
        ("-@all +HGET +hget +hGeT", "-@all +hget"),
        ("-@all +hget -hset +hset -hget", "-@all +hset -hget"),
        ("-@all +client|list +client|list +config|get +config +acl|list -acl", "-@all +client|list +config -acl"),
        ("-@all +select|0 +select|0 +debug|segfault +debug", "-@all +select|0 +debug"),
        ("-@all -@dangerous", "-@all -@dangerous"),
        ("-@all +config +config|get -config|set +config", "-@all +config"),
        ("+get +getex +get", "-@all +getex +get"),
    ];
    for (rules, shown) in cases {
        assert_eq!(commands(rules), shown, "{rules}");
    }
}

#[test]
fn what_is_shown_makes_the_same_user() {
    let rules = [
        "on >secret ~a* %R~b* %W~c* &news +@read -get +select|0 (~x +set) (%RW~y* &z +@all)",
        "nopass allkeys allchannels allcommands",
        "off skip-sanitize-payload",
    ];
    for rules in rules {
        let first = user(rules);
        let shown = String::from_utf8(first.describe()).expect("text");
        let again = user(shown.strip_prefix("user someone ").expect("a line of a file"));
        assert_eq!(first, again, "{shown}");
    }
}

#[test]
fn every_rule_that_redis_refuses_is_refused_in_its_words() {
    let cases: [(&[&str], &str); 12] = [
        (&["+nosuch"], "'+nosuch': Unknown command or category name in ACL"),
        (&["+@nosuch"], "'+@nosuch': Unknown command or category name in ACL"),
        (&["-config|nosuch"], "'-config|nosuch': Unknown command or category name in ACL"),
        (&["+get|a|b"], "'+get|a|b': Unknown command or category name in ACL"),
        (&["-get|a"], "'-get|a': Unknown command or category name in ACL"),
        (&["+config|get|x"], "'+config|get|x': Allowing first-arg of a subcommand is not supported"),
        (&["+select|"], "'+select|': Syntax error"),
        (&["%~x"], "'%~x': Syntax error"),
        (&["~a b"], "'~a b': Syntax error"),
        (&["<nosuch"], "'<nosuch': The password you are trying to remove from the user does not exist"),
        (
            &["#12"],
            "'#12': The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters",
        ),
        (&["(on)"], "'(on)': Syntax error"),
    ];
    for (rules, text) in cases {
        assert_eq!(error(rules), format!("ERR Error in ACL SETUSER modifier {text}"));
    }
    assert_eq!(error(&["on", "(+get", "+set"]), "ERR Unmatched parenthesis in acl selector starting at '(+get'.");
}

#[test]
fn keys_are_read_and_written_by_what_a_command_does_with_them() {
    let user = user("+@all %R~r* %W~w* ~rw*");
    let allowed = [
        "get r",
        "set w 1",
        "copy r w",
        "exists w",
        "sort r store w",
        "eval x 0 other",
        "eval x 5 other",
        "bitfield r get u8 0",
        "mget r r2",
        "migrate h 1 rw 0 5",
        "georadius r 1 2 3 m store w",
        "touch r w",
        "zunionstore w 1 r",
    ];
    let denied = [
        "get w",
        "set r 1",
        "set w 1 get",
        "copy w r",
        "exists x",
        "sort r store r",
        "eval x 1 r",
        "bitfield w get u8 0",
        "mget r w",
        "migrate h 1 r 0 5",
        "migrate h 1 rw 0 5 keys",
        "georadius r 1 2 3 m store r2",
        "touch r x",
    ];
    for request in allowed {
        assert!(may(&user, request), "{request}");
    }
    for request in denied.iter().filter(|request| !request.ends_with("keys")) {
        assert!(!may(&user, request), "{request}");
    }
}

#[test]
fn selectors_do_not_add_up() {
    let user = user("(%R~read* +@all) (%W~write* +@all)");
    assert!(may(&user, "get read1") && may(&user, "lpush write1 x"));
    assert!(!may(&user, "copy read1 write1"));
}

#[test]
fn a_category_is_all_of_its_commands_and_nothing_else() {
    for category in super::Categories::NAMES {
        let allowing = user(&format!("+@{category} ~* &*"));
        for entry in catalog().entries() {
            let has = super::Categories::named(category.as_bytes()).is_some_and(|it| entry.categories.has(it));
            assert!(!has || allowing.selectors()[0].allows(entry.number), "{category}: {}", entry.name);
        }
        assert_eq!(commands(&format!("+@all -@{category}")), format!("+@all -@{category}"));
    }
}

#[test]
fn a_file_is_taken_as_a_whole_or_not_at_all() {
    let mut config = Config::default();
    config.set("aclfile", "users.acl").expect("an option");
    let mut acl = Acl::new(&config.settings, None);
    let good = b"user alice on >a ~* +@all\n\n  user bob (+get ~x*) (%W~y +set)\r\n".to_vec();
    acl.load(&config.settings, good).expect("users");
    let names: Vec<&[u8]> = acl.users().map(|user| user.name()).collect();
    assert_eq!(names, [b"alice".as_slice(), b"bob", b"default"]);
    let text = acl.file_text();
    acl.load(&config.settings, text.clone()).expect("what was written");
    assert_eq!(acl.file_text(), text);
    let bad = b"user alice on\nuser alice off\nnobody\nuser eve +nosuch ~a %x\n".to_vec();
    assert_eq!(
        acl.load(&config.settings, bad).expect_err("two of a name"),
        "WARNING: Duplicate user 'alice' found on line 2. users.acl:3 should start with user keyword followed by the \
         username. users.acl:4: Error in applying operation '+nosuch': Unknown command or category name in ACL. \
         users.acl:4: Syntax error. WARNING: ACL errors detected, no change to the previously active ACL rules was performed"
    );
    assert_eq!(acl.file_text(), text);
}

#[test]
fn denials_that_are_alike_are_one_entry_and_the_log_keeps_the_latest() {
    let denial = |object: &str, at_ms| Denial {
        count: 1,
        reason: Reason::Key,
        occasion: Occasion::TopLevel,
        object: object.as_bytes().to_vec(),
        user: b"alice".to_vec(),
        client: format!("id={at_ms}"),
        number: 0,
        created_ms: at_ms,
        updated_ms: at_ms,
    };
    let mut log = Log::default();
    for (object, at_ms) in [("a", 1), ("b", 2), ("a", 3), ("a", 70_000), ("c", 70_001)] {
        log.add(denial(object, at_ms), 3);
    }
    let shown: Vec<_> =
        log.entries().map(|it| (it.object.as_slice(), it.count, it.number, it.created_ms, it.updated_ms)).collect();
    // The fourth came more than a minute after the third, and the fifth drove the second out.
    let expected: [(&[u8], u64, u64, i64, i64); 3] =
        [(b"c", 1, 3, 70_001, 70_001), (b"a", 1, 2, 70_000, 70_000), (b"a", 2, 0, 1, 3)];
    assert_eq!(shown, expected);
    assert_eq!((log.keys, log.commands), (5, 0));
    log.clear();
    assert_eq!((log.entries().len(), log.keys), (0, 5));
}
