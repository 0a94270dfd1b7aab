use super::*;

/// `id 0xabcd, RD`, one question, EDNS where a size is given.
fn query(name: &str, kind: u16, size: Option<u16>) -> Vec<u8> {
    let mut bytes = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(size.is_some())];
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    if let Some(size) = size {
        bytes.extend([0, 0, 41]);
        bytes.extend(size.to_be_bytes());
        bytes.extend([0, 0, 0x80, 0, 0, 0]);
    }
    bytes
}

#[test]
fn a_question_is_read_whatever_its_case() {
    let asked = question(&query("Web.Example", kind::A, Some(4096))).unwrap();
    assert_eq!(asked.name, Name::parse("web.example.").unwrap());
    assert_eq!((asked.kind, asked.size, asked.edns), (kind::A, 4096, Some(0x8000)));
    assert_eq!(question(&query("web", kind::A, None)).unwrap().size, 512);
    // A dot inside a label is not the dot between two.
    let mut odd = query("a-b", kind::A, None);
    odd[HEADER + 2] = b'.';
    assert_ne!(question(&odd).unwrap().name, Name::parse("a.b").unwrap());
}

#[test]
fn an_answer_points_at_the_question_and_says_when_it_does_not_fit() {
    let bytes = query("web", kind::A, Some(1232));
    let asked = question(&bytes).unwrap();
    let address = IpAddr::from([10, 88, 0, 2]);
    let many = vec![Answer::Address(address); 100];
    let answer = reply(&bytes, &asked, Outcome::Good, &many[..2], asked.size);
    assert!(answers(&answer, &bytes, &asked));
    assert_eq!(addresses(&answer, &asked).collect::<Vec<_>>(), [(address, 0); 2]);
    assert_eq!((answer[2] & 2, answer[11]), (0, 1));
    let cut = reply(&bytes, &asked, Outcome::Good, &many, 512);
    assert_eq!((cut[2] & 2, addresses(&cut, &asked).count()), (2, 0));
    assert!(cut.len() < 512);
}

#[test]
fn reverse_names() {
    let name = |text| Name::parse(text).unwrap().reversed();
    assert_eq!(name("2.0.88.10.in-addr.arpa"), Some([10, 88, 0, 2].into()));
    assert_eq!(name("256.0.88.10.in-addr.arpa"), None);
    assert_eq!(name("0.88.10.in-addr.arpa"), None);
    let long = format!("1.{}d.f.ip6.arpa", "0.".repeat(29));
    assert_eq!(name(&long), Some("fd00::1".parse().unwrap()));
    assert_eq!(name("arpa"), None);
}

#[test]
fn below() {
    let name = |text| Name::parse(text).unwrap();
    assert!(name("a.b.example.com").is_below(&name("example.com")));
    assert!(!name("example.com").is_below(&name("example.com")));
    assert!(!name("badexample.com").is_below(&name("example.com")));
}

#[test]
fn hostile_packets_are_survived() {
    let whole = query("a.rather.long.name.example", kind::AAAA, Some(1232));
    for end in 0..whole.len() {
        assert!(question(&whole[..end]).is_err(), "{end} bytes");
    }
    let asked = question(&whole).unwrap();
    let answer =
        reply(&whole, &asked, Outcome::Good, &vec![Answer::Address("fd00::1".parse().unwrap()); 9], 1232);
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    for _ in 0..200_000 {
        let mut bytes = if random() % 2 == 0 { whole.clone() } else { answer.clone() };
        for _ in 0..=random() % 4 {
            let at = random() % bytes.len();
            bytes[at] = random() as u8;
        }
        bytes.truncate(random() % (bytes.len() + 1));
        match question(&bytes) {
            Ok(asked) => {
                let said = reply(&bytes, &asked, Outcome::Good, &[], asked.size);
                assert!(answers(&said, &bytes, &asked) && said.len() <= bytes.len() + 11);
            }
            Err(Some(outcome)) => assert!(complaint(&bytes, outcome).is_some()),
            Err(None) => assert!(bytes.len() < HEADER || bytes[2] & 0x80 != 0),
        }
        let _ = addresses(&bytes, &asked).count();
        let _ = answers(&bytes, &whole, &asked);
    }
    // A pointer to itself, a label that is longer than the packet, a name that is too long.
    assert!(question(&[&whole[..HEADER], &[0xc0, 12, 0, 1, 0, 1]].concat()).is_err());
    assert!(question(&query(&vec!["a".repeat(63); 4].join("."), kind::A, None)).is_err());
}
