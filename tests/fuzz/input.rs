//! The bytes of a fuzzer, read as choices. Without bytes there are no choices.

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

    /// Returns the number of bytes that the next byte gives, or the remaining ones.
    pub fn few(&mut self) -> Option<&'a [u8]> {
        let length = self.byte()?.into();
        self.up_to(length)
    }

    /// Returns the number of bytes that the next two bytes give, or the remaining ones.
    pub fn many(&mut self) -> Option<&'a [u8]> {
        let length = self.short()?.into();
        self.up_to(length)
    }

    fn up_to(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        Some(taken)
    }

    /// Returns one of `things`.
    pub fn one_of<'b, T>(&mut self, things: &'b [T]) -> Option<&'b T> {
        let index = usize::from(self.byte()?);
        things.get(index % things.len().max(1))
    }
}
