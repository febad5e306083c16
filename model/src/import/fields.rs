//! Reading a configuration field by field, with errors that name the field.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::error::ImportError;

/// The fields of one JSON object of a configuration.
#[derive(Debug, Clone)]
pub(super) struct Fields {
    file: PathBuf,
    /// What field names begin with in messages: the path of the object within the file.
    prefix: String,
    values: Map<String, Value>,
}

impl Fields {
    /// The outermost object of a file.
    pub(super) fn new(file: &Path, fields: Map<String, Value>) -> Self {
        Self { file: file.to_owned(), prefix: String::new(), values: fields }
    }

    /// The file, for messages.
    pub(super) fn file(&self) -> PathBuf {
        self.file.clone()
    }

    /// Whether a field is there, null or not.
    pub(super) fn has(&self, field: &str) -> bool {
        self.values.contains_key(field)
    }

    /// A field that is neither absent nor null.
    pub(super) fn get(&self, field: &str) -> Option<&Value> {
        self.values.get(field).filter(|value| !value.is_null())
    }

    /// A count that has to be there.
    pub(super) fn count(&self, field: &str) -> Result<usize, ImportError> {
        self.optional_count(field)?.ok_or_else(|| self.wrong(field, "a count"))
    }

    /// A count, unless absent or null.
    pub(super) fn optional_count(&self, field: &str) -> Result<Option<usize>, ImportError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
        count.map(Some).ok_or_else(|| self.wrong(field, "a count"))
    }

    /// A number that has to be there.
    pub(super) fn number(&self, field: &str) -> Result<f32, ImportError> {
        self.optional_number(field)?.ok_or_else(|| self.wrong(field, "a number"))
    }

    /// A number, unless absent or null.
    #[allow(clippy::cast_possible_truncation, reason = "the model computes in single precision")]
    pub(super) fn optional_number(&self, field: &str) -> Result<Option<f32>, ImportError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let number = value.as_f64().ok_or_else(|| self.wrong(field, "a number"))?;
        Ok(Some(number as f32))
    }

    /// Yes or no, with what an absent or null field means.
    pub(super) fn flag(&self, field: &str, absent: bool) -> Result<bool, ImportError> {
        let Some(value) = self.get(field) else { return Ok(absent) };
        value.as_bool().ok_or_else(|| self.wrong(field, "true or false"))
    }

    /// A text, unless absent or null.
    pub(super) fn text(&self, field: &str) -> Result<Option<&str>, ImportError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.wrong(field, "a text"))
    }

    /// An object, unless absent or null.
    pub(super) fn object(&self, field: &str) -> Result<Option<Self>, ImportError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let fields = value.as_object().ok_or_else(|| self.wrong(field, "an object"))?;
        let prefix = format!("{}{field}.", self.prefix);
        Ok(Some(Self { file: self.file.clone(), prefix, values: fields.clone() }))
    }

    /// A list of counts; empty if absent or null.
    pub(super) fn counts(&self, field: &str) -> Result<Vec<usize>, ImportError> {
        let wrong = || self.wrong(field, "a list of counts");
        let Some(value) = self.get(field) else { return Ok(Vec::new()) };
        let list = value.as_array().ok_or_else(wrong)?;
        let count = |value: &Value| value.as_u64().and_then(|count| usize::try_from(count).ok());
        list.iter().map(|value| count(value).ok_or_else(wrong)).collect()
    }

    /// A list of texts, unless absent or null.
    pub(super) fn texts(&self, field: &str) -> Result<Option<Vec<&str>>, ImportError> {
        let wrong = || self.wrong(field, "a list of texts");
        let Some(value) = self.get(field) else { return Ok(None) };
        let list = value.as_array().ok_or_else(wrong)?;
        list.iter()
            .map(|value| value.as_str().ok_or_else(wrong))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// One token, several, or none if absent or null.
    pub(super) fn tokens(&self, field: &str) -> Result<Vec<u32>, ImportError> {
        let wrong = || self.wrong(field, "a token or a list of tokens");
        let token = |value: &Value| value.as_u64().and_then(|token| u32::try_from(token).ok());
        match self.get(field) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => {
                list.iter().map(|value| token(value).ok_or_else(wrong)).collect()
            }
            Some(value) => Ok(vec![token(value).ok_or_else(wrong)?]),
        }
    }

    /// The error for a field that is missing or of the wrong type.
    pub(super) fn wrong(&self, field: &str, expected: &'static str) -> ImportError {
        let found = self.values.get(field).map_or("missing".to_owned(), shorten);
        ImportError::Field { file: self.file(), field: self.name(field), found, expected }
    }

    /// The error for something the runtime does not do.
    pub(super) fn unsupported(&self, field: &str, remedy: impl Into<String>) -> ImportError {
        let found = self.values.get(field).map_or("missing".to_owned(), shorten);
        let (field, remedy) = (self.name(field), remedy.into());
        ImportError::Unsupported { file: self.file(), field, found, remedy }
    }

    fn name(&self, field: &str) -> String {
        format!("{}{field}", self.prefix)
    }
}

/// A value as a message shows it.
fn shorten(value: &Value) -> String {
    const LENGTH_MAX: usize = 80;
    let mut text = value.to_string();
    if text.chars().count() > LENGTH_MAX {
        text = text.chars().take(LENGTH_MAX).chain(['…']).collect();
    }
    text
}
