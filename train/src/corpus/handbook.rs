//! The handbook, cut into documents.

use super::{Split, draws::Draws};

const TEXT: &str = include_str!("../../corpus/handbook.md");
/// How the heading of the held-out chapter starts.
const HELD_OUT: &str = "## Chapter 6";

/// The handbook of the project, in Markdown.
pub fn handbook() -> &'static str {
    TEXT
}

/// Documents of one split of the handbook; `repeat` moves the cuts so that copies differ.
pub(super) fn sections(split: Split, repeat: u64) -> Vec<String> {
    let mut documents = Vec::new();
    let mut draws = Draws::new(repeat ^ 0x6861_6e64);
    for chapter in chapters() {
        if chapter.starts_with(HELD_OUT) == (split == Split::HeldOut) {
            documents.extend(cut(chapter, &mut draws));
        }
    }
    documents
}

fn chapters() -> impl Iterator<Item = &'static str> {
    let starts: Vec<usize> = TEXT.match_indices("## Chapter ").map(|(at, _)| at).collect();
    let ends: Vec<usize> = starts.iter().skip(1).copied().chain([TEXT.len()]).collect();
    starts.into_iter().zip(ends).filter_map(|(start, end)| TEXT.get(start..end))
}

/// Cuts a chapter between paragraphs into documents of about 300 to 1200 bytes.
fn cut(chapter: &str, draws: &mut Draws) -> Vec<String> {
    let mut documents = Vec::new();
    let mut document = String::new();
    for paragraph in chapter.split("\n\n").map(str::trim).filter(|p| !p.is_empty()) {
        if document.is_empty() {
            document.push_str("== Handbook ==\n");
        }
        // The file wraps its lines for readers; the model sees one paragraph as one line.
        document.push_str(&paragraph.replace('\n', " "));
        document.push('\n');
        if document.len() as u64 >= draws.between(300, 900) {
            documents.push(std::mem::take(&mut document));
        }
    }
    if !document.is_empty() {
        documents.push(document);
    }
    documents
}
