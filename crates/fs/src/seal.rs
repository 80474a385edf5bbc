//! Checksums: CRC-32C over a structure with its own checksum field taken as zero.

/// CRC-32C of whole structures. The journal's and other short sums that continue one another are
/// made by `crc32c`, which is slower from some hundred bytes on.
#[inline]
pub(crate) fn crc(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// CRC-32C of `bytes`, taking the four bytes at `field` as zero.
///
/// `field + 4` must not be past the end of `bytes`.
pub(crate) fn checksum(bytes: &[u8], field: usize) -> u32 {
    let crc = crc32c::crc32c(&bytes[..field]);
    let crc = crc32c::crc32c_append(crc, &[0; 4]);
    crc32c::crc32c_append(crc, &bytes[field + 4..])
}

/// Writes the checksum of `bytes` into the four bytes at `field`.
pub(crate) fn seal(bytes: &mut [u8], field: usize) {
    bytes[field..field + 4].fill(0);
    let crc = crc(bytes);
    bytes[field..field + 4].copy_from_slice(&crc.to_le_bytes());
}

/// True if the four bytes at `field` are the checksum of `bytes`.
pub(crate) fn sealed(bytes: &[u8], field: usize) -> bool {
    bytes[field..field + 4] == checksum(bytes, field).to_le_bytes()
}

/// Largest value of [`seal_word`].
pub(crate) const MAX_WORD: u64 = (1 << 48) - 1;

/// A 48-bit value with a 16-bit check, for words that are stored atomically on their own.
pub(crate) fn seal_word(value: u64, salt: u32) -> u64 {
    debug_assert!(value <= MAX_WORD);
    let value = value & MAX_WORD;
    let crc = crc32c::crc32c_append(salt, &value.to_le_bytes());
    value | u64::from((crc ^ (crc >> 16)) as u16) << 48
}

/// The value of a word made by [`seal_word`], if its check is right.
pub(crate) fn open_word(word: u64, salt: u32) -> Option<u64> {
    let value = word & MAX_WORD;
    (seal_word(value, salt) == word).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_is_noticed() {
        let mut bytes = *b"some bytes with a field for it";
        seal(&mut bytes, 4);
        assert!(sealed(&bytes, 4));
        assert_eq!(crc(b"123456789"), crc32c::crc32c(b"123456789"));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!sealed(&bytes, 4));
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        let word = seal_word(77, 3);
        assert_eq!(open_word(word, 3), Some(77));
        for bit in 0..64 {
            assert_eq!(open_word(word ^ (1 << bit), 3), None);
        }
    }
}
