//! The part of an address behind its question mark.

/// The value of the first entry of this name.
pub fn value(query: &str, name: &str) -> Option<String> {
    values(query, name).next()
}

/// The values of all entries of this name, in their order.
pub fn values<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = String> + 'a {
    let entries = query.split('&').map(|entry| entry.split_once('=').unwrap_or((entry, "")));
    entries.filter(move |(key, _)| decode(key) == name).map(|(_, value)| decode(value))
}

/// Text without its escapes: `%20` and `+` stand for a space. Bytes that are no UTF-8 become U+FFFD, which no name has.
fn decode(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, behind @ ..] = rest {
        let code = behind.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        let code =
            code.filter(|digits| !digits.starts_with('+')).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(code.unwrap_or(if *first == b'+' { b' ' } else { *first }));
        rest = if code.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read() {
        let query = "run=a%2Fb+c&x&run=%C3%A9%3Cscript%3E&run=%&run=%+1&run=%zz&run=%ff&=1";
        let runs: Vec<String> = values(query, "run").collect();
        assert_eq!(runs, ["a/b c", "é<script>", "%", "% 1", "%zz", "\u{fffd}"]);
        assert_eq!(value(query, "x").as_deref(), Some(""));
        assert_eq!(value(query, "y"), None);
        assert_eq!(value("", "token"), None);
    }
}
