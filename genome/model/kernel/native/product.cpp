// What XLA calls for a product of one vector with a stored matrix: reads the buffers, shares the rows out to XLA's
// own threads. The interface is XLA's FFI (xla/ffi/api/c_api.h, which comes with jaxlib); no C++ library is needed.

#include "products.h"
#include "xla/ffi/api/c_api.h"

static const int64_t ALONE = 32 << 10;  // so many weights are not worth waking another thread for
static const int64_t PIECE = 24 << 10;  // weights in what a thread takes at once

struct Shared {
  Job job;
  int64_t rows, piece;
  int64_t next;     // the first row that nobody has taken
  int64_t done;     // rows that are ready
  int32_t holders;  // of this memory
};

static void work(Shared* shared) {
  for (;;) {
    int64_t begin = __atomic_fetch_add(&shared->next, shared->piece, __ATOMIC_RELAXED);
    if (begin >= shared->rows) return;
    int64_t end = begin + shared->piece < shared->rows ? begin + shared->piece : shared->rows;
    rows_of(shared->job, begin, end);
    __atomic_fetch_add(&shared->done, end - begin, __ATOMIC_RELEASE);
  }
}

static void let_go(Shared* shared) {
  if (__atomic_sub_fetch(&shared->holders, 1, __ATOMIC_ACQ_REL) == 0) __builtin_free(shared);
}

static void help(void* data) {
  work((Shared*)data);
  let_go((Shared*)data);
}

static int64_t threads_of(XLA_FFI_CallFrame* frame) {
  int64_t count = 1;
  XLA_FFI_ThreadPool_NumThreads_Args args = {XLA_FFI_ThreadPool_NumThreads_Args_STRUCT_SIZE, nullptr, frame->ctx, &count};
  if (XLA_FFI_Error* error = frame->api->XLA_FFI_ThreadPool_NumThreads(&args)) {
    XLA_FFI_Error_Destroy_Args gone = {XLA_FFI_Error_Destroy_Args_STRUCT_SIZE, nullptr, error};
    frame->api->XLA_FFI_Error_Destroy(&gone);
    return 1;
  }
  return count;
}

INLINE void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// The caller works too and waits only for rows that somebody has begun: a busy pool costs time, never an answer.
static void all_rows(XLA_FFI_CallFrame* frame, const Job& job, int64_t rows) {
  int64_t threads = rows * job.columns <= ALONE ? 1 : threads_of(frame);
  Shared* shared = threads > 1 ? (Shared*)__builtin_malloc(sizeof(Shared)) : nullptr;
  if (!shared) return rows_of(job, 0, rows);
  *shared = {job, rows, 1 + PIECE / job.columns, 0, 0, 1};
  int64_t helpers = (rows - 1) / shared->piece;
  if (helpers > threads - 1) helpers = threads - 1;
  for (int64_t i = 0; i < helpers; ++i) {
    __atomic_fetch_add(&shared->holders, 1, __ATOMIC_RELAXED);
    XLA_FFI_ThreadPool_Schedule_Args args = {XLA_FFI_ThreadPool_Schedule_Args_STRUCT_SIZE, nullptr, frame->ctx, help, shared};
    if (XLA_FFI_Error* error = frame->api->XLA_FFI_ThreadPool_Schedule(&args)) {
      XLA_FFI_Error_Destroy_Args gone = {XLA_FFI_Error_Destroy_Args_STRUCT_SIZE, nullptr, error};
      frame->api->XLA_FFI_Error_Destroy(&gone);
      let_go(shared);
      break;
    }
  }
  work(shared);
  while (__atomic_load_n(&shared->done, __ATOMIC_ACQUIRE) < rows) pause();
  let_go(shared);
}

static XLA_FFI_Error* refusal(XLA_FFI_CallFrame* frame, const char* message) {
  XLA_FFI_Error_Create_Args args = {
      XLA_FFI_Error_Create_Args_STRUCT_SIZE, nullptr, message, XLA_FFI_Error_Code_INVALID_ARGUMENT};
  return frame->api->XLA_FFI_Error_Create(&args);
}

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
  all_rows(frame, job, rows);
  return nullptr;
}

static bool asked_for_metadata(XLA_FFI_CallFrame* frame) {
  XLA_FFI_Extension_Base* extension = frame->extension_start;
  if (!extension || extension->type != XLA_FFI_Extension_Metadata) return false;
  XLA_FFI_Metadata* metadata = ((XLA_FFI_Metadata_Extension*)extension)->metadata;
  metadata->api_version = {
      XLA_FFI_Api_Version_STRUCT_SIZE, nullptr, XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR};
  metadata->traits = 0;
  return true;
}

extern "C" __attribute__((visibility("default"))) XLA_FFI_Error* genome_product(XLA_FFI_CallFrame* frame) {
  return asked_for_metadata(frame) ? nullptr : product(frame);
}

extern "C" __attribute__((visibility("default"))) const char* genome_lanes(void) { return LANES; }
