//! Lists of processors and memory nodes, as the kernel writes them: `0-2,4`.

/// The numbers of a list, in its order; none where it is no list.
pub(crate) fn parse(list: &str) -> Option<Vec<u16>> {
    let mut numbers = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let range = first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?;
        if range.is_empty() {
            return None;
        }
        numbers.extend(range);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_written_out() {
        assert_eq!(parse("0-2,4\n"), Some(vec![0, 1, 2, 4]));
        assert_eq!(parse("\n"), Some(vec![]));
        assert_eq!((parse("2-0"), parse("a"), parse("0-"), parse("70000")), (None, None, None, None));
    }
}
