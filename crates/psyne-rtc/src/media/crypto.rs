//! The cryptography that str0m asks its user for, in pure Rust: what DTLS here stands on already.

use std::sync::Arc;
use std::time::Instant;

use aes::cipher::{Array, BlockCipherEncrypt, KeyInit, KeyIvInit, StreamCipher};
use aes::{Aes128, Aes256};
use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use str0m_proto::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, ProtocolVersion,
};
use str0m_proto::crypto::{
    AeadAes128GcmCipher, AeadAes256GcmCipher, Aes128CmSha1_80Cipher, CryptoError, CryptoProvider,
    DtlsVersion, Sha1HmacProvider, Sha1Provider, Sha256Provider, SrtpProvider,
    SupportedAeadAes128Gcm, SupportedAeadAes256Gcm, SupportedAes128CmSha1_80,
};

use crate::dtls;

const BLOCK_BYTES: usize = 16;
const TAG_BYTES: usize = 16;
/// How many parts of a message are authenticated and not encrypted: a header and an index.
const PARTS_MAX: usize = 2;
/// The longest of them together: an RTP header with all its extensions is far below.
const PARTS_BYTES_MAX: usize = 2_048;

/// All of it.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        srtp_provider: &Crypto,
        sha1_hmac_provider: &Crypto,
        sha1_provider: &Crypto,
        sha256_provider: &Crypto,
        dtls_provider: &Crypto,
    })
}

/// Makes ciphers; has nothing of its own.
#[derive(Debug)]
struct Crypto;

impl Sha1HmacProvider for Crypto {
    fn sha1_hmac(&self, key: &[u8], payloads: &[&[u8]]) -> [u8; 20] {
        let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("HMAC takes keys of any length");
        payloads.iter().for_each(|payload| mac.update(payload));
        mac.finalize().into_bytes().into()
    }
}

impl Sha1Provider for Crypto {
    fn sha1(&self, data: &[u8]) -> [u8; 20] {
        Sha1::digest(data).into()
    }
}

impl Sha256Provider for Crypto {
    fn sha256(&self, data: &[u8]) -> [u8; 32] {
        Sha256::digest(data).into()
    }
}

impl SrtpProvider for Crypto {
    fn aes_128_cm_sha1_80(&self) -> &'static dyn SupportedAes128CmSha1_80 {
        &Self
    }

    fn aead_aes_128_gcm(&self) -> &'static dyn SupportedAeadAes128Gcm {
        &Self
    }

    fn aead_aes_256_gcm(&self) -> &'static dyn SupportedAeadAes256Gcm {
        &Self
    }

    fn srtp_aes_128_ecb_round(&self, key: &[u8], input: &[u8], output: &mut [u8]) {
        let cipher = Aes128::new_from_slice(key).expect("str0m brings keys of 16 bytes");
        round(&cipher, input, output);
    }

    fn srtp_aes_256_ecb_round(&self, key: &[u8], input: &[u8], output: &mut [u8]) {
        let cipher = Aes256::new_from_slice(key).expect("str0m brings keys of 32 bytes");
        round(&cipher, input, output);
    }
}

/// One block and, as str0m's buffer has room for two, the block of padding behind it.
fn round<C: BlockCipherEncrypt<BlockSize = aes::cipher::consts::U16>>(
    cipher: &C,
    input: &[u8],
    output: &mut [u8],
) {
    let padding = [BLOCK_BYTES as u8; BLOCK_BYTES];
    for (block, out) in [input, &padding].into_iter().zip(output.chunks_exact_mut(BLOCK_BYTES)) {
        let mut block = Array::try_from(block).expect("str0m derives keys by blocks");
        cipher.encrypt_block(&mut block);
        out.copy_from_slice(&block);
    }
}

impl SupportedAes128CmSha1_80 for Crypto {
    fn create_cipher(&self, key: [u8; 16], _: bool) -> Box<dyn Aes128CmSha1_80Cipher> {
        Box::new(Counter(key))
    }
}

impl SupportedAeadAes128Gcm for Crypto {
    fn create_cipher(&self, key: [u8; 16], _: bool) -> Box<dyn AeadAes128GcmCipher> {
        Box::new(Gcm(Aes128Gcm::new(&key.into())))
    }
}

impl SupportedAeadAes256Gcm for Crypto {
    fn create_cipher(&self, key: [u8; 32], _: bool) -> Box<dyn AeadAes256GcmCipher> {
        Box::new(Gcm(Aes256Gcm::new(&key.into())))
    }
}

/// AES in counter mode (RFC 3711 §4.1.1).
struct Counter([u8; 16]);

impl core::fmt::Debug for Counter {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Counter")
    }
}

impl Aes128CmSha1_80Cipher for Counter {
    fn encrypt(&mut self, iv: &[u8; 16], input: &[u8], out: &mut [u8]) -> Result<(), CryptoError> {
        let out = out.get_mut(..input.len()).ok_or_else(no_room)?;
        let mut cipher = ctr::Ctr128BE::<Aes128>::new(&self.0.into(), iv.into());
        cipher.apply_keystream_b2b(input, out);
        Ok(())
    }

    fn decrypt(&mut self, iv: &[u8; 16], input: &[u8], out: &mut [u8]) -> Result<(), CryptoError> {
        self.encrypt(iv, input, out)
    }
}

/// AES-GCM (RFC 7714).
struct Gcm<C>(C);

impl<C> core::fmt::Debug for Gcm<C> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Gcm")
    }
}

type Nonce = aes::cipher::consts::U12;
type Tag = aes::cipher::consts::U16;

impl<C: AeadInOut<NonceSize = Nonce, TagSize = Tag>> Gcm<C> {
    fn seal(&self, iv: &[u8; 12], aad: &[u8], io: (&[u8], &mut [u8])) -> Result<(), CryptoError> {
        let (input, out) = io;
        let (out, rest) = out.split_at_mut_checked(input.len()).ok_or_else(no_room)?;
        let tag_out = rest.get_mut(..TAG_BYTES).ok_or_else(no_room)?;
        out.copy_from_slice(input);
        let tag = self.0.encrypt_inout_detached(iv.into(), aad, out.into());
        tag_out.copy_from_slice(&tag.map_err(|_| not_authentic())?);
        Ok(())
    }

    fn open(
        &self,
        iv: &[u8; 12],
        aads: &[&[u8]],
        io: (&[u8], &mut [u8]),
    ) -> Result<usize, CryptoError> {
        let (input, out) = io;
        let (input, tag) = input.split_last_chunk::<TAG_BYTES>().ok_or_else(not_authentic)?;
        let out = out.get_mut(..input.len()).ok_or_else(no_room)?;
        out.copy_from_slice(input);
        let joined;
        let aad = match aads {
            [one] => one,
            many => {
                let bytes: usize = many.iter().map(|part| part.len()).sum();
                if many.len() > PARTS_MAX || bytes > PARTS_BYTES_MAX {
                    return Err(not_authentic());
                }
                joined = many.concat();
                &joined[..]
            }
        };
        let opened = self.0.decrypt_inout_detached(iv.into(), aad, out.into(), tag.into());
        opened.map_err(|_| not_authentic())?;
        Ok(input.len())
    }
}

/// The same trait for each length of key.
macro_rules! gcm {
    ($cipher:ty: $($contract:ident)+) => {
        $(impl $contract for Gcm<$cipher> {
            fn encrypt(
                &mut self,
                iv: &[u8; 12],
                aad: &[u8],
                input: &[u8],
                output: &mut [u8],
            ) -> Result<(), CryptoError> {
                self.seal(iv, aad, (input, output))
            }

            fn decrypt(
                &mut self,
                iv: &[u8; 12],
                aads: &[&[u8]],
                input: &[u8],
                output: &mut [u8],
            ) -> Result<usize, CryptoError> {
                self.open(iv, aads, (input, output))
            }
        })+
    };
}

gcm!(Aes128Gcm: AeadAes128GcmCipher);
gcm!(Aes256Gcm: AeadAes256GcmCipher);

fn no_room() -> CryptoError {
    CryptoError::Other("the output has no room".to_owned())
}

fn not_authentic() -> CryptoError {
    CryptoError::Other("not authentic".to_owned())
}

impl DtlsProvider for Crypto {
    /// Certificates are ours to make.
    fn generate_certificate(&self) -> Option<DtlsCert> {
        None
    }

    fn new_dtls(
        &self,
        certificate: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        _: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let (config, certificate) = (Arc::new(dtls::config()), certificate.clone());
        Ok(Box::new(Dtls(match version {
            DtlsVersion::Dtls12 => dimpl::Dtls::new_12(config, certificate, now),
            DtlsVersion::Dtls13 => dimpl::Dtls::new_13(config, certificate, now),
            _ => dimpl::Dtls::new_auto(config, certificate, now),
        })))
    }

    /// Even where str0m is built for tests, keys are drawn at random.
    fn is_test(&self) -> bool {
        false
    }
}

struct Dtls(dimpl::Dtls);

impl core::fmt::Debug for Dtls {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Dtls")
    }
}

impl DtlsInstance for Dtls {
    fn set_active(&mut self, active: bool) {
        self.0.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.0.handle_packet(packet)
    }

    fn poll_output<'a>(&mut self, buffer: &'a mut [u8]) -> DtlsOutput<'a> {
        self.0.poll_output(buffer)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.0.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.0.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.0.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.0.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.0.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.0.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3711 §B.2: the keystream for a counter that begins at 0.
    #[test]
    fn counter_mode_is_that_of_srtp() {
        let key = 0x2B7E_1516_28AE_D2A6_ABF7_1588_09CF_4F3C_u128.to_be_bytes();
        let iv = 0xF0F1_F2F3_F4F5_F6F7_F8F9_FAFB_FCFD_0000_u128.to_be_bytes();
        let mut out = [0; 16];
        let encrypted = Counter(key).encrypt(&iv, &[0; 16], &mut out);
        assert!(encrypted.is_ok());
        assert_eq!(u128::from_be_bytes(out), 0xE03E_AD09_35C9_5E80_E166_B16D_D92B_4EB4);
        assert!(Counter(key).encrypt(&iv, &[0; 16], &mut [0; 15]).is_err());
    }

    /// RFC 3711 §B.3: the first block of the cipher key that is derived from a master key.
    #[test]
    fn keys_are_derived_as_srtp_derives_them() {
        let key = 0xE1F9_7A0D_3E01_8BE0_D64F_A32C_06DE_4139_u128.to_be_bytes();
        let input = 0x0EC6_75AD_498A_FEEB_B696_0B3A_ABE6_0000_u128.to_be_bytes();
        let mut out = [0; 32];
        Crypto.srtp_aes_128_ecb_round(&key, &input, &mut out);
        assert_eq!(out[..16], 0xC61E_7A93_744F_39EE_1073_4AFE_3FF7_A087_u128.to_be_bytes());
        Crypto.srtp_aes_256_ecb_round(&[1; 32], &input, &mut out);
    }

    /// RFC 2202 §3, the second case.
    #[test]
    fn messages_are_authenticated_as_rfc_2104_says() {
        let tag = Crypto.sha1_hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(tag[..4], [0xEF, 0xFC, 0xDF, 0x6A]);
        assert_eq!(Crypto.sha1(b"abc")[..4], [0xA9, 0x99, 0x3E, 0x36]);
        assert_eq!(Crypto.sha256(b"abc")[..4], [0xBA, 0x78, 0x16, 0xBF]);
    }

    #[test]
    fn what_was_changed_does_not_open() {
        let gcm = Gcm(Aes128Gcm::new(&[7; 16].into()));
        let (iv, aad) = ([9; 12], [3; 12]);
        let mut sealed = [0; 21];
        gcm.seal(&iv, &aad, (b"sound", &mut sealed)).expect("there is room");
        let mut opened = [0; 5];
        for parts in [&[&aad[..]][..], &[&aad[..4], &aad[4..]]] {
            assert_eq!(gcm.open(&iv, parts, (&sealed, &mut opened)).ok(), Some(5));
            assert_eq!(&opened, b"sound");
        }
        for at in 0..sealed.len() {
            let mut changed = sealed;
            changed[at] ^= 1;
            assert!(gcm.open(&iv, &[&aad], (&changed, &mut opened)).is_err(), "{at}");
        }
        assert!(gcm.open(&iv, &[&aad], (&sealed[..15], &mut opened)).is_err());
        assert!(gcm.open(&iv, &[&aad[..]; 3], (&sealed, &mut opened)).is_err());
        assert!(gcm.seal(&iv, &aad, (b"sound", &mut [0; 20])).is_err());
    }
}
