// What XLA calls for a product of one vector with a stored matrix, and for one token's attention.

#include "attention.h"
#include "products.h"
#include "threads.h"

#define EXPORTED extern "C" __attribute__((visibility("default")))

static const int64_t PIECE = 24 << 10;  // weights in what a thread takes at once: fewer are not worth waking another

// One layer of a part (L, rows, n), or all of one (rows, n); null for an empty one.
template <typename T>
static const T* layer_of(const XLA_FFI_Buffer* part, int64_t layer) {
  int64_t size = 1;
  for (int64_t i = 0; i < part->rank; ++i) size *= part->dims[i];
  if (!size) return nullptr;
  return (const T*)part->data + (part->rank == 3 ? layer * part->dims[1] * part->dims[2] : 0);
}

// Arguments: x (columns,), the layer's number, and the parts of a Dense (values), Bytes (values, scale) or Nibbles
// (pairs, scale, minimum, high, outer, outer_minimum; empty where there is none). Results: the product (rows,), and
// room for sums of x.
static XLA_FFI_Error* product(XLA_FFI_CallFrame* frame) {
  XLA_FFI_Buffer** in = (XLA_FFI_Buffer**)frame->args.args;
  XLA_FFI_Buffer** out = (XLA_FFI_Buffer**)frame->rets.rets;
  int64_t parts = frame->args.size - 2;
  if ((parts != 1 && parts != 2 && parts != 6) || frame->rets.size != 2)
    return refusal(frame, "wanted a vector, a layer's number and the parts of a matrix");
  int64_t columns = in[0]->dims[0], rows = out[0]->dims[0], layer = *(const int32_t*)in[1]->data;
  // XLA would cut a stack at a number that is out of range at its ends.
  int64_t layers = in[2]->rank == 3 ? in[2]->dims[0] : 1;
  layer = layer < 0 ? 0 : layer >= layers ? layers - 1 : layer;
  Job job = {};
  job.columns = columns;
  job.x = (const float*)in[0]->data;
  job.out = (float*)out[0]->data;
  if (parts == 1) {
    bool floats = in[2]->dtype == XLA_FFI_DataType_F32;
    job.type = floats ? FLOATS : in[2]->dtype == XLA_FFI_DataType_F16 ? HALVES : BRAINS;
    job.values = floats ? (const uint8_t*)layer_of<float>(in[2], layer) : (const uint8_t*)layer_of<uint16_t>(in[2], layer);
  } else if (parts == 2) {
    job.type = BYTES;
    job.values = layer_of<uint8_t>(in[2], layer);
    job.scale = (const uint8_t*)layer_of<uint16_t>(in[3], layer);
  } else {
    job.values = layer_of<uint8_t>(in[2], layer);
    job.outer = layer_of<uint16_t>(in[6], layer);
    job.outer_minimum = layer_of<uint16_t>(in[7], layer);
    if (in[5]->dtype == XLA_FFI_DataType_U32) {
      job.high = (const uint8_t*)layer_of<uint32_t>(in[5], layer);
    } else {
      job.high = (const uint8_t*)layer_of<uint16_t>(in[5], layer);
    }
    if (job.outer) {
      job.scale = layer_of<uint8_t>(in[3], layer);
      job.minimum = layer_of<uint8_t>(in[4], layer);
      job.type = !job.minimum ? SIXES : job.high ? FIVES_K : FOURS_K;
    } else {
      job.scale = (const uint8_t*)layer_of<uint16_t>(in[3], layer);
      job.minimum = (const uint8_t*)layer_of<uint16_t>(in[4], layer);
      job.type = job.high ? FIVES : FOURS;
    }
    if (job.minimum) {
      by_groups(job.x, columns / BLOCK, (float*)out[1]->data);
      job.sums = (const float*)out[1]->data;
    }
  }
  Work* work = [](const void* job, int64_t begin, int64_t end) { rows_of(*(const Job*)job, begin, end); };
  share_out(frame, work, &job, rows, 1 + PIECE / columns);
  return nullptr;
}

// Arguments: queries (K, G, D), the new token's keys and values (K, D), the caches of keys and values (L, K, D, S),
// how many places are filled, the layer, how many places a token sees. Results: (K, G, D), and room (K, G, S).
static XLA_FFI_Error* attention(XLA_FFI_CallFrame* frame) {
  XLA_FFI_Buffer** in = (XLA_FFI_Buffer**)frame->args.args;
  XLA_FFI_Buffer** out = (XLA_FFI_Buffer**)frame->rets.rets;
  if (frame->args.size != 8 || frame->rets.size != 2) return refusal(frame, "wanted queries, keys, values and a cache");
  const int64_t* size = in[3]->dims;
  int64_t layer = *(const int32_t*)in[6]->data, before = *(const int32_t*)in[5]->data, sees = *(const int32_t*)in[7]->data;
  layer = layer < 0 ? 0 : layer >= size[0] ? size[0] - 1 : layer;
  before = before < 0 ? 0 : before > size[3] ? size[3] : before;
  int64_t begin = before + 1 > sees ? before + 1 - sees : 0, at = layer * size[1] * size[2] * size[3];
  Seen seen = {
      size[1], in[0]->dims[1], size[2], size[3], begin < before ? begin : before, before,
      (const float*)in[0]->data, (const float*)in[1]->data, (const float*)in[2]->data,
      (const float*)in[3]->data + at, (const float*)in[4]->data + at, (float*)out[1]->data, (float*)out[0]->data};
  Work* work = [](const void* job, int64_t begin, int64_t end) { heads_of(*(const Seen*)job, begin, end); };
  int64_t heads = seen.heads * seen.group, numbers = (before - begin) * seen.width;
  share_out(frame, work, &seen, heads, numbers < 4096 ? heads : 1);
  return nullptr;
}

EXPORTED XLA_FFI_Error* genome_product(XLA_FFI_CallFrame* frame) {
  return asked_for_metadata(frame) ? nullptr : product(frame);
}

EXPORTED XLA_FFI_Error* genome_attention(XLA_FFI_CallFrame* frame) {
  return asked_for_metadata(frame) ? nullptr : attention(frame);
}

EXPORTED const char* genome_lanes(void) { return LANES; }
