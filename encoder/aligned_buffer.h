// Memory for the encoder's working arrays: aligned for vector registers, never
// initialised, kept and grown.
//
// Thread safety: a value of one thread.
#ifndef PG_SEMANTIC_ENCODER_ALIGNED_BUFFER_H
#define PG_SEMANTIC_ENCODER_ALIGNED_BUFFER_H

#include <cstddef>
#include <memory>
#include <new>

namespace pg_semantic::encoder {

template <typename T>
class AlignedBuffer {
 public:
  // At least `size` elements; what was in it is lost when it grows.  Throws std::bad_alloc.
  T* at_least(size_t size) {
    if (size_ < size) {
      memory_.reset();
      size_ = 0;
      memory_.reset(static_cast<T*>(operator new[](size * sizeof(T), kAlignment)));
      size_ = size;
    }
    return memory_.get();
  }

  [[nodiscard]] T* data() const { return memory_.get(); }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Free {
    void operator()(T* memory) const { operator delete[](memory, kAlignment); }
  };

  std::unique_ptr<T[], Free> memory_;
  size_t size_ = 0;
};

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_ALIGNED_BUFFER_H
