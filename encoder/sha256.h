// SHA-256 (FIPS 180-4), by libcrypto.
//
// Thread safety: a Sha256 belongs to one thread; the functions are free of state.
#ifndef PG_SEMANTIC_ENCODER_SHA256_H
#define PG_SEMANTIC_ENCODER_SHA256_H

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace pg_semantic::encoder {

using Sha256Digest = std::array<std::byte, 32>;

// Incremental digest.  finish() ends it; a Sha256 is used once.
// libcrypto failing (no memory, SHA-256 disabled by policy) throws
// std::runtime_error, which the caller's file turns into a Status.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void update(std::span<const std::byte> bytes);
  void update(std::string_view text) { update(std::as_bytes(std::span(text.data(), text.size()))); }
  Sha256Digest finish();

 private:
  void* context_;  // EVP_MD_CTX
};

Sha256Digest sha256(std::span<const std::byte> bytes);

// Lower-case hexadecimal.
std::string to_hex(std::span<const std::byte> bytes);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_SHA256_H
