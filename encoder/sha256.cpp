// SHA-256 through libcrypto's EVP interface; see sha256.h.
#include "encoder/sha256.h"

#include <stdexcept>

#include <openssl/evp.h>

namespace pg_semantic::encoder {

namespace {

void require(bool done) {
  if (!done) throw std::runtime_error("libcrypto could not compute a SHA-256 digest");
}

EVP_MD_CTX* evp(void* context) { return static_cast<EVP_MD_CTX*>(context); }

}  // namespace

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  if (context_ != nullptr && EVP_DigestInit_ex(evp(context_), EVP_sha256(), nullptr) == 1) return;
  EVP_MD_CTX_free(evp(context_));
  require(false);
}

Sha256::~Sha256() { EVP_MD_CTX_free(evp(context_)); }

void Sha256::update(std::span<const std::byte> bytes) {
  require(EVP_DigestUpdate(evp(context_), bytes.data(), bytes.size()) == 1);
}

Sha256Digest Sha256::finish() {
  Sha256Digest digest{};
  unsigned int size = 0;
  require(EVP_DigestFinal_ex(evp(context_), reinterpret_cast<unsigned char*>(digest.data()), &size) == 1 &&
          size == digest.size());
  return digest;
}

Sha256Digest sha256(std::span<const std::byte> bytes) {
  Sha256 digest;
  digest.update(bytes);
  return digest.finish();
}

std::string to_hex(std::span<const std::byte> bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(bytes.size() * 2);
  for (const std::byte b : bytes) {
    hex.push_back(kDigits[std::to_integer<unsigned>(b) >> 4]);
    hex.push_back(kDigits[std::to_integer<unsigned>(b) & 15]);
  }
  return hex;
}

}  // namespace pg_semantic::encoder
