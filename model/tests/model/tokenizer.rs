use litecore_model::{ByteTokenizer, InvalidToken};

#[test]
fn every_byte_is_its_own_token() {
    let bytes: Vec<u8> = (0..=255).collect();
    let tokens = ByteTokenizer.encode(&bytes);
    assert_eq!(tokens, (0..256).collect::<Vec<u32>>());
    assert_eq!(ByteTokenizer.decode(&tokens).unwrap(), bytes);
    assert_eq!(tokens.len(), ByteTokenizer::VOCAB);
}

#[test]
fn text_is_its_utf8_bytes() {
    assert_eq!(ByteTokenizer.encode("Aé".as_bytes()), [0x41, 0xc3, 0xa9]);
    assert_eq!(ByteTokenizer.display(&[0x41, 0xc3, 0xa9]), "Aé");
}

#[test]
fn what_is_not_text_is_shown_as_a_mark() {
    assert_eq!(ByteTokenizer.display(&[0x41, 0xc3, 0x42]), "A\u{fffd}B");
}

#[test]
fn a_token_above_255_is_refused_with_its_place() {
    let error = ByteTokenizer.decode(&[1, 256, 300]).unwrap_err();
    assert_eq!(error, InvalidToken { position: 1, token: 256 });
    assert!(error.to_string().contains("token 256 at position 1"));
}
