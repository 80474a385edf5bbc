//! As much of Rust's lexical grammar as it takes to tell code from comments and literals.

/// The source with comments and the insides of string and character literals replaced by spaces.
///
/// Lines and columns stay where they were (columns in characters).
pub fn code_only(source: &str) -> String {
    let text: Vec<char> = source.chars().collect();
    let mut code = String::with_capacity(source.len());
    let mut at = 0;
    while at < text.len() {
        let end = end_of_blank(&text, at);
        if end == at {
            code.push(text[at]);
            at += 1;
            continue;
        }
        for c in &text[at..end] {
            code.push(if *c == '\n' { '\n' } else { ' ' });
        }
        at = end;
    }
    code
}

/// Where the comment or literal that starts at `at` ends; `at` itself if none starts there.
fn end_of_blank(text: &[char], at: usize) -> usize {
    let rest = &text[at..];
    if rest.starts_with(&['/', '/']) {
        return find(text, at, |c| c == '\n');
    }
    if rest.starts_with(&['/', '*']) {
        return end_of_block_comment(text, at);
    }
    let in_word = at > 0 && is_word(text[at - 1]);
    match rest[0] {
        '"' => end_of_quoted(text, at + 1, '"'),
        '\'' => end_of_character(text, at),
        'r' if !in_word => end_of_raw_string(text, at + 1).unwrap_or(at),
        'b' | 'c' if !in_word && rest.get(1) == Some(&'r') => {
            end_of_raw_string(text, at + 2).unwrap_or(at)
        }
        _ => at,
    }
}

/// Block comments nest.
fn end_of_block_comment(text: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at < text.len() {
        if text[at..].starts_with(&['/', '*']) {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with(&['*', '/']) {
            depth -= 1;
            at += 2;
        } else {
            at += 1;
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// `at` is behind the opening quote; a backslash hides the character after it.
fn end_of_quoted(text: &[char], mut at: usize, quote: char) -> usize {
    while at < text.len() {
        match text[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// A quote starts a character if a backslash follows, or a quote after one character; else it
/// starts a lifetime, which is code.
fn end_of_character(text: &[char], at: usize) -> usize {
    match (text.get(at + 1), text.get(at + 2)) {
        (Some('\\'), _) => end_of_quoted(text, at + 1, '\''),
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

/// `at` is behind the `r`; none if no raw string follows.
fn end_of_raw_string(text: &[char], at: usize) -> Option<usize> {
    let hashes = text[at..].iter().take_while(|c| **c == '#').count();
    if text.get(at + hashes) != Some(&'"') {
        return None;
    }
    let mut close = vec!['"'];
    close.extend(std::iter::repeat_n('#', hashes));
    let body = at + hashes + 1;
    let length = text[body..].windows(close.len()).position(|window| *window == close[..]);
    Some(length.map_or(text.len(), |length| body + length + close.len()))
}

fn find(text: &[char], from: usize, wanted: impl Fn(char) -> bool) -> usize {
    text[from..].iter().position(|c| wanted(*c)).map_or(text.len(), |length| from + length)
}

/// Whether the character can be part of an identifier.
pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where `word` stands in the line as a whole word (byte offsets).
pub fn find_word(line: &str, word: &str) -> Option<usize> {
    line.match_indices(word).map(|(at, _)| at).find(|at| {
        let before = line[..*at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked() {
        for (source, code) in [
            ("a // unsafe\nb", "a          \nb"),
            ("a /* x /* y */ z */ b", "a                     b"),
            ("f(\"un\\\"safe\", 'x', '\\'')", "f(          ,    ,     )"),
            ("r#\"a\"b\"#; c", "         ; c"),
            ("br\"x\" + b'y'", "      + b   "),
            ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
            ("bar\"x\"", "bar   "),
            ("\"open", "     "),
        ] {
            let blanked = code_only(source);
            assert_eq!(blanked.chars().count(), source.chars().count(), "{source}");
            let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(squeeze(&blanked), squeeze(code), "{source}");
        }
    }

    #[test]
    fn words_are_whole() {
        assert_eq!(find_word("x unsafe {", "unsafe"), Some(2));
        assert_eq!(find_word("forbid(unsafe_code)", "unsafe"), None);
        assert_eq!(find_word("not_unsafe", "unsafe"), None);
    }
}
