// Dropout masks: Threefry-2x32 with 20 rounds (Salmon et al. 2011), which turns a key and a counter into random bits.

#include "vectors.h"

namespace {

constexpr long kMaskBlock = 4 * kLanes;

// 16 counters of a draw, starting at `counter`, become two random words each.
inline void threefry(Words& low, Words& high, uint32_t counter, uint32_t draw, uint32_t key_low, uint32_t key_high) {
    const uint32_t keys[3] = {key_low, key_high, 0x1bd11bdau ^ key_low ^ key_high};
    const int rotations[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
    low = Words{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15} + (counter + keys[0]);
    high = Words{} + (draw + keys[1]);
#pragma GCC unroll 5
    for (uint32_t group = 0; group < 5; ++group) {
#pragma GCC unroll 4
        for (int round = 0; round < 4; ++round) {
            const int rotation = rotations[group % 2][round];
            low += high;
            high = (high << rotation) | (high >> (32 - rotation));
            high ^= low;
        }
        low += keys[(group + 1) % 3];
        high += keys[(group + 2) % 3] + group + 1;
    }
}

// 16 random bits decide a unit: it is dropped (0) below the threshold and kept (1) else.
inline void store_kept(uint8_t* mask, Words bits, uint32_t threshold) {
    const Bytes kept = __builtin_convertvector((bits >= threshold) & 1, Bytes);
    std::memcpy(mask, &kept, sizeof kept);
}

void fill_mask(uint8_t* mask, long count, uint32_t key_low, uint32_t key_high, uint32_t draw, uint32_t threshold) {
#pragma omp parallel for schedule(static)
    for (long i = 0; i < count; i += kMaskBlock) {
        Words low, high;
        threefry(low, high, uint32_t(i / 4), draw, key_low, key_high);
        store_kept(mask + i, low & 0xffffu, threshold);
        store_kept(mask + i + kLanes, low >> 16, threshold);
        store_kept(mask + i + 2 * kLanes, high & 0xffffu, threshold);
        store_kept(mask + i + 3 * kLanes, high >> 16, threshold);
    }
}

}  // namespace

EXPORTED void draw_mask(uint8_t* mask, long count, long key_low, long key_high, long draw, long threshold) {
    fill_mask(mask, count, uint32_t(key_low), uint32_t(key_high), uint32_t(draw), uint32_t(threshold));
}
