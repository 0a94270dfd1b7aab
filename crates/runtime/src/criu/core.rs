//! The image of a container's first process (CRIU's images/core.proto), as far as its engine has something to say.
//!
//! With whom the process ends is the engine's business: under ours with its monitor, under another with nobody.

use std::io;
use std::path::Path;

use super::wire::{Message, Value, fields};

/// The image's name: the process is the first of its PID namespace.
pub const NAME: &str = "core-1.img";

/// Two numbers that say what the file is, and the message's length.
const HEADER: usize = 12;
/// `core_entry.thread_core`.
const THREAD: u32 = 5;
/// `thread_core_entry.pdeath_sig`.
const PARENT_DEATH_SIGNAL: u32 = 8;

/// Sees to it that the process gets this signal when its parent ends (PR_SET_PDEATHSIG); 0: none. What is no image is
/// left for CRIU to complain about.
pub fn set_parent_death_signal(images: &Path, signal: i32) -> io::Result<()> {
    let path = images.join(NAME);
    let image = match std::fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        image => image?,
    };
    let Some(changed) = with_parent_death_signal(&image, signal).filter(|changed| *changed != image) else {
        return Ok(());
    };
    let new = path.with_extension("img.new");
    std::fs::write(&new, changed)?;
    std::fs::rename(new, path)
}

/// The image with that signal; none where it is no image.
pub fn with_parent_death_signal(image: &[u8], signal: i32) -> Option<Vec<u8>> {
    let (header, message) = image.split_at_checked(HEADER)?;
    let length = u32::from_le_bytes(*header.last_chunk()?);
    let message = message.get(..length as usize).filter(|whole| whole.len() + HEADER == image.len())?;
    let mut changed = Message::default();
    for (field, value) in fields(message)? {
        changed = match value {
            Value::Number(number) => changed.number(field, number as i64),
            Value::Bytes(thread) if field == THREAD => changed.bytes(field, &thread_with(thread, signal)?),
            Value::Bytes(bytes) => changed.bytes(field, bytes),
        };
    }
    let message = changed.as_bytes();
    let length = u32::try_from(message.len()).ok()?.to_le_bytes();
    Some([&header[..HEADER - 4], &length, message].concat())
}

/// Of a field that occurs twice the last one counts.
fn thread_with(thread: &[u8], signal: i32) -> Option<Vec<u8>> {
    let said = fields(thread)?.into_iter().rev().find(|(field, _)| *field == PARENT_DEATH_SIGNAL);
    if said.map_or(0, |(_, value)| value.number()) == i64::from(signal) {
        return Some(thread.to_owned());
    }
    let word = Message::default().number(PARENT_DEATH_SIGNAL, signal.into());
    Some([thread, word.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(thread: &Message) -> Vec<u8> {
        let message =
            Message::default().number(1, 1).text(2, "registers").message(THREAD, thread).text(3, "x");
        let length = (message.as_bytes().len() as u32).to_le_bytes();
        [b"magic of", &length[..], message.as_bytes()].concat()
    }

    #[test]
    fn the_last_word_on_the_signal_is_ours_and_all_else_stays() {
        // Longer than a length of one byte says.
        let long = "x".repeat(125);
        let plain = Message::default().text(1, &long);
        let dies = plain.clone().number(PARENT_DEATH_SIGNAL, 9);
        assert_eq!(with_parent_death_signal(&image(&plain), 0).unwrap(), image(&plain));
        assert_eq!(with_parent_death_signal(&image(&dies), 9).unwrap(), image(&dies));
        assert_eq!(with_parent_death_signal(&image(&plain), 9).unwrap(), image(&dies));
        let lives = dies.clone().number(PARENT_DEATH_SIGNAL, 0);
        assert_eq!(with_parent_death_signal(&image(&dies), 0).unwrap(), image(&lives));
    }

    #[test]
    fn what_is_no_image_is_none() {
        let whole = image(&Message::default());
        for garbage in [&b""[..], b"short", &whole[..whole.len() - 1], &[whole.clone(), vec![0]].concat()] {
            assert_eq!(with_parent_death_signal(garbage, 9), None);
        }
    }
}
