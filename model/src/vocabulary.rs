//! Text to tokens and back, for models of bytes and for models with a vocabulary of their own.

use crate::tokenizer::{ByteTokenizer, InvalidToken};

/// Turns text into tokens and back.
#[derive(Debug, Clone)]
pub enum Tokenizer {
    /// Every byte is a token.
    Bytes,
    /// The vocabulary of an imported model.
    Vocabulary(Box<tokenizers::Tokenizer>),
}

/// A text as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoding {
    /// The tokens, with those that the model expects before or after a text.
    pub tokens: Vec<u32>,
    /// Bytes of the text that are in the first token: nothing predicts them.
    pub unpredicted_bytes: usize,
}

/// Why a tokenizer cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenizerError {
    /// The file is not a tokenizer.
    #[error("not a tokenizer that can be read: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: String,
    },
    /// The tokens are no bytes, and there is no tokenizer.
    #[error("there is none for a vocabulary of {vocab}: compile or import the model again")]
    Absent {
        /// How many tokens the model has.
        vocab: usize,
    },
    /// The tokenizer has a token that the model does not.
    #[error("it has a token {token}, the model has {vocab} tokens: they do not belong together")]
    BeyondVocabulary {
        /// The largest token.
        token: u32,
        /// How many tokens the model has.
        vocab: usize,
    },
    /// A text has no tokens.
    #[error("the text cannot be put into tokens: {reason}")]
    Encode {
        /// Why.
        reason: String,
    },
    /// Tokens have no text.
    #[error("the tokens cannot be put into text: {reason}")]
    Decode {
        /// Why.
        reason: String,
    },
    /// A token of a model of bytes is no byte.
    #[error(transparent)]
    NotAByte(#[from] InvalidToken),
}

/// The text of tokens as they come.
#[derive(Debug)]
pub struct TextStream<'t> {
    tokenizer: &'t Tokenizer,
    tokens: Vec<u32>,
    /// What was given out so far.
    given: String,
}

impl Tokenizer {
    /// The tokenizer in a `tokenizer.json`, for a model of so many tokens.
    ///
    /// Errors: the file is none, or has tokens that the model does not have.
    pub fn from_json(bytes: &[u8], vocab: usize) -> Result<Self, TokenizerError> {
        let malformed = |reason: String| TokenizerError::Malformed { reason };
        let mut tokenizer =
            tokenizers::Tokenizer::from_bytes(bytes).map_err(|e| malformed(e.to_string()))?;
        // Texts are taken whole, whatever the file was last used for.
        let whole = tokenizer.with_truncation(None);
        whole.map_err(|error| malformed(error.to_string()))?.with_padding(None);
        let largest = tokenizer.get_vocab(true).into_values().max();
        let token = largest.ok_or_else(|| malformed("it has no tokens".to_owned()))?;
        if token as usize >= vocab {
            return Err(TokenizerError::BeyondVocabulary { token, vocab });
        }
        Ok(Self::Vocabulary(Box::new(tokenizer)))
    }

    /// Whether every byte is a token.
    pub fn is_bytes(&self) -> bool {
        matches!(self, Self::Bytes)
    }

    /// The tokens of a text.
    ///
    /// Errors: the tokenizer of a vocabulary says why.
    pub fn encode(&self, text: &str) -> Result<Encoding, TokenizerError> {
        match self {
            Self::Bytes => {
                let tokens = ByteTokenizer.encode(text.as_bytes());
                Ok(Encoding { unpredicted_bytes: tokens.len().min(1), tokens })
            }
            Self::Vocabulary(tokenizer) => {
                let failed =
                    |error: tokenizers::Error| TokenizerError::Encode { reason: error.to_string() };
                let encoding = tokenizer.encode(text, true).map_err(failed)?;
                // Tokens put before the text lie at 0 to 0.
                let unpredicted_bytes = encoding.get_offsets().first().map_or(0, |(_, end)| *end);
                Ok(Encoding { tokens: encoding.get_ids().to_vec(), unpredicted_bytes })
            }
        }
    }

    /// The text of tokens; what is not text becomes U+FFFD, and marks of the vocabulary (of a
    /// text's beginning, say) are left out.
    ///
    /// Errors: a token that does not exist, or the tokenizer says why.
    pub fn decode(&self, tokens: &[u32]) -> Result<String, TokenizerError> {
        match self {
            Self::Bytes => Ok(ByteTokenizer.display(&ByteTokenizer.decode(tokens)?)),
            Self::Vocabulary(tokenizer) => tokenizer
                .decode(tokens, true)
                .map_err(|error| TokenizerError::Decode { reason: error.to_string() }),
        }
    }

    /// The text of tokens as they come, after those given.
    pub fn stream(&self) -> TextStream<'_> {
        TextStream { tokenizer: self, tokens: Vec::new(), given: String::new() }
    }
}

impl TextStream<'_> {
    /// Takes a token and gives what can be said of the text since; a character that may still be
    /// incomplete waits for its other tokens.
    pub fn push(&mut self, token: u32) -> Result<Vec<u8>, TokenizerError> {
        if self.tokenizer.is_bytes() {
            return Ok(ByteTokenizer.decode(&[token])?);
        }
        self.tokens.push(token);
        let text = self.tokenizer.decode(&self.tokens)?;
        Ok(self.give(text.trim_end_matches('\u{fffd}')))
    }

    /// The rest of the text, when no further token will come.
    pub fn finish(mut self) -> Result<Vec<u8>, TokenizerError> {
        if self.tokenizer.is_bytes() {
            return Ok(Vec::new());
        }
        let text = self.tokenizer.decode(&self.tokens)?;
        Ok(self.give(&text))
    }

    /// What follows the part that was already given out. Where a later token changed what was said
    /// (bytes that turn out to be no character), nothing can be taken back, and the text goes on
    /// after what is common.
    fn give(&mut self, text: &str) -> Vec<u8> {
        let common = |(a, b): &(char, char)| a == b;
        let kept = text.chars().zip(self.given.chars()).take_while(common);
        let rest: String = text.chars().skip(kept.count()).collect();
        text.clone_into(&mut self.given);
        rest.into_bytes()
    }
}
