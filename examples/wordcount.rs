//! Counts the words of text files, most frequent first.
//!
//!     cargo run --release --example wordcount -- book.txt
//!     cargo run --release --example wordcount -- --small

use fluvial::prelude::*;

// Every word is a `String` of its own: an allocator that is good at small things shows.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let env = Env::default();
    let input: Vec<String> = std::env::args().skip(1).filter(|a| a != "--small").collect();
    let lines = match input.is_empty() {
        true => env.from_collection(["to be or not to be", "that is the question"].map(String::from)),
        false => env.read_text(&input)?,
    };
    let counts = lines
        .flat_map_with(|line, out| line.split_ascii_whitespace().for_each(|word| out.push(word.to_owned())))
        .key_by_ref(|word| word.as_str())
        .count();
    for (word, count) in counts.top_by(10, |(word, count)| (Descending(*count), word.clone())).collect()? {
        println!("{count:>10}  {word}");
    }
    Ok(())
}
