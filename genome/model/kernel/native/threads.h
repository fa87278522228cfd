// Work shared out to XLA's own threads; what XLA's FFI (xla/ffi/api/c_api.h, which comes with jaxlib) wants besides.
#pragma once

#include "lanes.h"
#include "xla/ffi/api/c_api.h"

// Does the units from `begin` to `end` of a job.
typedef void Work(const void* job, int64_t begin, int64_t end);

struct Shared {
  Work* work;
  const void* job;  // lives as long as its units are not all done
  int64_t units, piece;
  int64_t next;     // the first unit that nobody has taken
  int64_t done;     // units that are ready
  int32_t holders;  // of this memory
};

static void take_part(Shared* shared) {
  for (;;) {
    int64_t begin = __atomic_fetch_add(&shared->next, shared->piece, __ATOMIC_RELAXED);
    if (begin >= shared->units) return;
    int64_t end = begin + shared->piece < shared->units ? begin + shared->piece : shared->units;
    shared->work(shared->job, begin, end);
    __atomic_fetch_add(&shared->done, end - begin, __ATOMIC_RELEASE);
  }
}

static void let_go(Shared* shared) {
  if (__atomic_sub_fetch(&shared->holders, 1, __ATOMIC_ACQ_REL) == 0) __builtin_free(shared);
}

static void help(void* data) {
  take_part((Shared*)data);
  let_go((Shared*)data);
}

static bool went_well(XLA_FFI_CallFrame* frame, XLA_FFI_Error* error) {
  if (!error) return true;
  XLA_FFI_Error_Destroy_Args gone = {XLA_FFI_Error_Destroy_Args_STRUCT_SIZE, nullptr, error};
  frame->api->XLA_FFI_Error_Destroy(&gone);
  return false;
}

static int64_t threads_of(XLA_FFI_CallFrame* frame) {
  int64_t count = 1;
  XLA_FFI_ThreadPool_NumThreads_Args args = {XLA_FFI_ThreadPool_NumThreads_Args_STRUCT_SIZE, nullptr, frame->ctx, &count};
  return went_well(frame, frame->api->XLA_FFI_ThreadPool_NumThreads(&args)) ? count : 1;
}

INLINE void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// All units, `piece` at a time. The caller works too and waits only for what somebody has begun: a busy pool costs
// time, never an answer.
static void share_out(XLA_FFI_CallFrame* frame, Work* work, const void* job, int64_t units, int64_t piece) {
  int64_t threads = units <= piece ? 1 : threads_of(frame);
  Shared* shared = threads > 1 ? (Shared*)__builtin_malloc(sizeof(Shared)) : nullptr;
  if (!shared) return work(job, 0, units);
  *shared = {work, job, units, piece, 0, 0, 1};
  int64_t helpers = (units - 1) / piece;
  if (helpers > threads - 1) helpers = threads - 1;
  for (int64_t i = 0; i < helpers; ++i) {
    __atomic_fetch_add(&shared->holders, 1, __ATOMIC_RELAXED);
    XLA_FFI_ThreadPool_Schedule_Args args = {XLA_FFI_ThreadPool_Schedule_Args_STRUCT_SIZE, nullptr, frame->ctx, help, shared};
    if (!went_well(frame, frame->api->XLA_FFI_ThreadPool_Schedule(&args))) {
      let_go(shared);
      break;
    }
  }
  take_part(shared);
  while (__atomic_load_n(&shared->done, __ATOMIC_ACQUIRE) < units) pause_briefly();
  let_go(shared);
}

static XLA_FFI_Error* refusal(XLA_FFI_CallFrame* frame, const char* message) {
  XLA_FFI_Error_Create_Args args = {
      XLA_FFI_Error_Create_Args_STRUCT_SIZE, nullptr, message, XLA_FFI_Error_Code_INVALID_ARGUMENT};
  return frame->api->XLA_FFI_Error_Create(&args);
}

// Whether XLA only wants to know which version of its interface this is; it is told.
static bool asked_for_metadata(XLA_FFI_CallFrame* frame) {
  XLA_FFI_Extension_Base* extension = frame->extension_start;
  if (!extension || extension->type != XLA_FFI_Extension_Metadata) return false;
  XLA_FFI_Metadata* metadata = ((XLA_FFI_Metadata_Extension*)extension)->metadata;
  metadata->api_version = {
      XLA_FFI_Api_Version_STRUCT_SIZE, nullptr, XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR};
  metadata->traits = 0;
  return true;
}
