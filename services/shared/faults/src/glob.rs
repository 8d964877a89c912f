//! Patterns in which `*` stands for any characters.

/// Whether `text` is as `pattern` says. The case of ASCII letters does not matter.
///
/// It takes time in proportion to the product of both lengths at most.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where the last star was, and from where in the text it is to stand for one octet more.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(octet) if octet.eq_ignore_ascii_case(&text[t]) => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|octet| *octet == b'*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, text) in
            [("*", ""), ("", ""), ("*@gmail.com", "usr@GMAIL.com"), ("a*b*c", "aXbYbZc"), ("**a", "ba"), ("é*", "é1")]
        {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("", "a"), ("a", ""), ("*@gmail.com", "usr@gmail.com.x"), ("a*b", "ac"), ("?", "a")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
