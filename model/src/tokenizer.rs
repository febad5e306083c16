//! The byte tokenizer: every byte is a token.

/// Turns text into tokens and back, one token per byte. The vocabulary is the 256 byte values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ByteTokenizer;

/// A token that is not a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("token {token} at position {position} is not a byte: the vocabulary is 0 to 255")]
pub struct InvalidToken {
    /// Which token of the sequence.
    pub position: usize,
    /// Its value.
    pub token: u32,
}

impl ByteTokenizer {
    /// How many tokens there are.
    pub const VOCAB: usize = 256;

    /// The tokens of the bytes, one each.
    pub fn encode(self, bytes: &[u8]) -> Vec<u32> {
        bytes.iter().map(|&byte| u32::from(byte)).collect()
    }

    /// The bytes of the tokens, one each.
    ///
    /// Errors: [`InvalidToken`], the first token above 255.
    pub fn decode(self, tokens: &[u32]) -> Result<Vec<u8>, InvalidToken> {
        let byte =
            |(position, &token)| u8::try_from(token).map_err(|_| InvalidToken { position, token });
        tokens.iter().enumerate().map(byte).collect()
    }

    /// The bytes as text for a person; what is not UTF-8 becomes U+FFFD, so the way back is lost.
    pub fn display(self, bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }
}
