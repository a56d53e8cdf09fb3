//! A fuzzer's bytes, read as choices. Where they end, there are no more choices.

pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub fn short(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    /// As many bytes as the next one says, or as are left.
    pub fn few(&mut self) -> Option<&'a [u8]> {
        let length = self.byte()?.into();
        self.up_to(length)
    }

    /// As many bytes as the next two say, or as are left.
    pub fn many(&mut self) -> Option<&'a [u8]> {
        let length = self.short()?.into();
        self.up_to(length)
    }

    fn up_to(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        Some(taken)
    }

    /// One of some things.
    pub fn one_of<'b, T>(&mut self, things: &'b [T]) -> Option<&'b T> {
        let index = usize::from(self.byte()?);
        things.get(index % things.len().max(1))
    }
}
