//! The rule about links between documents.

use super::tree::{Offence, Tree};

/// Relative links of Markdown files point at files that exist.
pub fn relative(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for source in tree.sources.iter().filter(|source| source.path.ends_with(".md")) {
        let folder = source.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut in_code = false;
        for (index, line) in source.text.lines().enumerate() {
            in_code ^= line.trim_start().starts_with("```");
            if in_code {
                continue;
            }
            for target in targets(line) {
                let exists =
                    resolve(folder, &target).is_some_and(|path| tree.paths.contains(&path));
                if !exists {
                    offences.push(source.offence(index + 1, format!("no such file: {target}")));
                }
            }
        }
    }
    offences
}

/// The relative targets of the line's links, without anchors; code spans are left out.
fn targets(line: &str) -> Vec<String> {
    let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
    let inline = prose.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    let reference = prose.strip_prefix('[').and_then(|rest| rest.split_once("]: "));
    let links = inline.chain(reference.map(|(_, target)| target.trim()));
    let paths = links.filter(|link| !link.contains("://") && !link.starts_with("mailto:"));
    let paths = paths.filter_map(|link| link.split('#').next());
    paths.filter(|path| !path.is_empty()).map(str::to_owned).collect()
}

/// The path from the root of the repository; none if it leads outside.
fn resolve(folder: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::super::tree::places;
    use super::*;

    #[test]
    fn dead_links_are_reported() {
        let text = "[a](b.md#x) [a](../crates) [a](https://x.y/z) [a](#here)\n[a](c.md)\n\
            `[a](c.md)`\n```\n[a](c.md)\n```\n[a]: d.md\n[a](../../b.md \"title\") ![a](b.md)\n";
        let tree = Tree::of(&[("docs/a.md", text), ("docs/b.md", ""), ("crates/x.rs", "")]);
        assert_eq!(places(relative(&tree)), ["docs/a.md:2", "docs/a.md:7", "docs/a.md:8"]);
    }
}
