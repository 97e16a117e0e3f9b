// Sanitizer: whether ThreadSanitizer watches. It does not see what the assembly of a restartable
// sequence stores, so it takes a block that goes from thread to thread by a slab for a race; and it
// delivers signals late.
#pragma once

namespace numaheap {

#if defined(__SANITIZE_THREAD__)
inline constexpr bool kUnderThreadSanitizer = true;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
inline constexpr bool kUnderThreadSanitizer = true;
#else
inline constexpr bool kUnderThreadSanitizer = false;
#endif
#else
inline constexpr bool kUnderThreadSanitizer = false;
#endif

}  // namespace numaheap
