//! The parser: any division of the input gives the same requests, and limits are Redis's.

use super::*;

fn all(input: &[u8], step: usize) -> Result<Vec<Vec<Vec<u8>>>, ProtocolError> {
    let mut parser = Parser::default();
    let mut requests = Vec::new();
    let (mut start, mut end) = (0, 0);
    while end < input.len() {
        end = (end + step).min(input.len());
        while let Some(length) = parser.parse(&input[start..end], Limits::default())? {
            let request = parser.request(&input[start..end]);
            requests.push(request.tail(0).map(<[u8]>::to_vec).collect());
            start += length;
        }
    }
    Ok(requests)
}

#[test]
fn any_division_of_the_input_gives_the_same_requests() {
    let input =
        b"*2\r\n$3\r\nGET\r\n$12\r\nhello\r\nworld\r\nPING\r\n\r\n*0\r\n*1\r\n$0\r\n\r\nSET 'a b' \"\\x41\\n\"\r\n";
    let whole = all(input, input.len()).expect("requests");
    assert_eq!(whole[0], [b"GET".to_vec(), b"hello\r\nworld".to_vec()]);
    assert_eq!(whole.last().map(Vec::as_slice), Some(&[b"SET".to_vec(), b"a b".to_vec(), b"A\n".to_vec()][..]));
    for step in 1..input.len() {
        assert_eq!(all(input, step).as_ref(), Ok(&whole), "in pieces of {step}");
    }
}

#[test]
fn what_is_no_request_is_told_in_redis_own_words() {
    let long = vec![b'x'; 70_000];
    let long_count = [b"*".as_slice(), &vec![b'1'; 70_000]].concat();
    for (input, expected) in [
        (b"*a\r\n".as_slice(), "Protocol error: invalid multibulk length"),
        (b"*2147483648\r\n", "Protocol error: invalid multibulk length"),
        (b"*1\r\n$-1\r\n", "Protocol error: invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "Protocol error: invalid bulk length"),
        (b"*1\r\nPING\r\n", "Protocol error: expected '$', got 'P'"),
        (b"'a\r\n", "Protocol error: unbalanced quotes in request"),
        (b"'a'b\r\n", "Protocol error: unbalanced quotes in request"),
        (&long, "Protocol error: too big inline request"),
        (&long_count, "Protocol error: too big mbulk count string"),
    ] {
        assert_eq!(all(input, input.len()).map_err(|error| error.to_string()), Err(expected.to_owned()));
    }
}

#[test]
fn a_claimed_length_allocates_nothing() {
    let mut parser = Parser::default();
    assert_eq!(parser.parse(b"*2147483647\r\n$536870912\r\n", Limits::default()), Ok(None));
    assert!(parser.size() < 1024);
}

#[test]
fn numbers_are_printed_as_redis_prints_them() {
    for (number, expected) in [
        (1.0, "1"),
        (0.1, "0.1"),
        (1e20, "1e+20"),
        (123456789012345680.0, "123456789012345680"),
        (1e21, "1e+21"),
        (1e-10, "1e-10"),
        (-0.0, "-0"),
        (f64::INFINITY, "inf"),
        (3.25e-5, "3.25e-5"),
    ] {
        assert_eq!(format_double(number), expected);
    }
}
