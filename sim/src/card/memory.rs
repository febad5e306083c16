use litecore_firmware_proto::{CompletionHeader, Cookie, CookieState};
use std::collections::VecDeque;

/// What a card remembers of the commands of one session, so that none is carried out twice.
pub(super) struct CookieMemory {
    session: u32,
    entries: VecDeque<Entry>,
    entries_max: usize,
    /// Bytes of the replies that are kept, and most of them.
    reply_bytes: usize,
    reply_bytes_max: usize,
    /// The greatest sequence number that fell out of the memory.
    forgotten: u32,
}

struct Entry {
    completion: CompletionHeader,
    reply: Option<Vec<u8>>,
}

/// What the memory knows about a cookie.
pub(super) enum Remembered<'a> {
    /// Nothing: it was never seen.
    New,
    /// Its completion, and its reply unless that had to go.
    Finished(&'a CompletionHeader, Option<&'a [u8]>),
    /// It is too long ago.
    Forgotten,
}

impl CookieMemory {
    pub(super) fn new(session: u32, entries_max: usize, reply_bytes_max: usize) -> Self {
        Self {
            session,
            entries: VecDeque::new(),
            entries_max,
            reply_bytes: 0,
            reply_bytes_max,
            forgotten: 0,
        }
    }

    pub(super) fn session(&self) -> u32 {
        self.session
    }

    pub(super) fn find(&self, cookie: Cookie) -> Remembered<'_> {
        match self.entries.iter().find(|entry| entry.completion.cookie == cookie) {
            Some(entry) => Remembered::Finished(&entry.completion, entry.reply.as_deref()),
            None if cookie.sequence() <= self.forgotten => Remembered::Forgotten,
            None => Remembered::New,
        }
    }

    pub(super) fn state(&self, cookie: Cookie) -> (CookieState, Option<&CompletionHeader>) {
        if cookie.session() != self.session {
            return (CookieState::Forgotten, None);
        }
        match self.find(cookie) {
            Remembered::New => (CookieState::Unknown, None),
            Remembered::Finished(completion, _) => (CookieState::Finished, Some(completion)),
            Remembered::Forgotten => (CookieState::Forgotten, None),
        }
    }

    /// Remembers a completion; `reply` is `None` where nobody could keep it.
    pub(super) fn keep(&mut self, completion: CompletionHeader, reply: Option<&[u8]>) {
        let reply = reply.filter(|reply| reply.len() <= self.reply_bytes_max).map(<[u8]>::to_vec);
        self.reply_bytes += reply.as_ref().map_or(0, Vec::len);
        self.entries.push_back(Entry { completion, reply });
        if self.entries.len() > self.entries_max
            && let Some(oldest) = self.entries.pop_front()
        {
            self.reply_bytes -= oldest.reply.map_or(0, |reply| reply.len());
            self.forgotten = self.forgotten.max(oldest.completion.cookie.sequence());
        }
        let mut oldest_first = self.entries.iter_mut();
        while self.reply_bytes > self.reply_bytes_max
            && let Some(entry) = oldest_first.next()
        {
            // A reply without bytes is kept for nothing, and says that there was none.
            if entry.reply.as_ref().is_some_and(|reply| !reply.is_empty()) {
                self.reply_bytes -= entry.reply.take().map_or(0, |reply| reply.len());
            }
        }
    }
}
