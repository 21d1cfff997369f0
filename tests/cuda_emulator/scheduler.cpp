// Blocks in a loop, threads as fibers. See kernels.hpp for what is checked.
#include "tests/cuda_emulator/kernels.hpp"

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#define EMULATOR_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMULATOR_ASAN 1
#endif
#endif
#ifdef EMULATOR_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace emulator
{
dim3 thread_index, block_index, block_size, grid_size;

namespace
{
enum {
    WARP = 32,
    STACK_BYTES = 128 << 10,
    SHARED_MOST = 163 << 10,
    SHARED_GUARD = 4096,
    COPIED = 16
};
enum state { READY, AT_BARRIER, AT_WARP, DONE };

struct copy {
    char *to;
    const char *from;
    int bytes;
};

struct fiber {
    std::vector<copy> copies; // begun, and not waited for
    void *stack_pointer = nullptr;
    char *stack = nullptr;
    void *fake_stack = nullptr; // the address sanitizer's
    enum state state = DONE;
    unsigned phase = 0; // counts its warp operations
    dim3 index;
#ifndef __x86_64__
    ucontext_t context;
#endif
};

struct machine {
    fiber host;
    std::vector<fiber> fibers;
    fiber *current = nullptr;
    // Two sets: a lane may give its next number while others still read this one.
    std::vector<uint64_t> slots[2];
    char *shared = nullptr;
    void (*body)(void *) = nullptr;
    void *argument = nullptr;
    uint64_t order = 88172645463325252u;
    std::string finding, kernel;
    const void *host_stack = nullptr;
    size_t host_stack_bytes = 0;
};

machine &the_machine()
{
    static machine one;
    return one;
}

unsigned next_random(unsigned below)
{
    uint64_t &x = the_machine().order; // xorshift64, Marsaglia 2003
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return (unsigned)((x >> 32) % below);
}

#ifdef __x86_64__
extern "C" void emulator_switch(void **save, void *to);
// Keeps what the calling convention says a function must keep; all else is dead here anyway.
asm(R"(
.text
.p2align 4
.type emulator_switch,@function
emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size emulator_switch,.-emulator_switch
)");
#endif

void switch_fibers(fiber &from, fiber &to, bool ends)
{
#ifdef EMULATOR_ASAN
    machine &m = the_machine();
    const void *bottom = &to == &m.host ? m.host_stack : to.stack;
    size_t bytes = &to == &m.host ? m.host_stack_bytes : (size_t)STACK_BYTES;
    __sanitizer_start_switch_fiber(ends ? nullptr : &from.fake_stack, bottom, bytes);
#else
    (void)ends;
#endif
#ifdef __x86_64__
    emulator_switch(&from.stack_pointer, to.stack_pointer);
#else
    swapcontext(&from.context, &to.context);
#endif
#ifdef EMULATOR_ASAN
    __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
#endif
}

void fiber_main()
{
    machine &m = the_machine();
#ifdef EMULATOR_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &m.host_stack, &m.host_stack_bytes);
#endif
    m.body(m.argument);
    if (!m.current->copies.empty())
        complain("a thread ended before its asynchronous copies");
    m.current->state = DONE;
    switch_fibers(*m.current, m.host, true);
}

void prepare(fiber &one)
{
    if (!one.stack)
        one.stack = (char *)mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
#ifdef EMULATOR_ASAN
    __asan_unpoison_memory_region(one.stack, STACK_BYTES);
#endif
#ifdef __x86_64__
    // As if it had called emulator_switch() from where fiber_main() begins: the stack is off by
    // eight bytes from a multiple of 16 there, as after a call.
    void **top = (void **)(one.stack + STACK_BYTES);
    *--top = nullptr;
    *--top = (void *)fiber_main;
    for (int i = 0; i < 6; i++)
        *--top = nullptr;
    one.stack_pointer = top;
#else
    getcontext(&one.context);
    one.context.uc_stack.ss_sp = one.stack;
    one.context.uc_stack.ss_size = STACK_BYTES;
    one.context.uc_link = nullptr;
    makecontext(&one.context, fiber_main, 0);
#endif
    one.state = READY;
    one.phase = 0;
    one.copies.clear();
}

void resume(fiber &one)
{
    machine &m = the_machine();
    m.current = &one;
    thread_index = one.index;
    switch_fibers(m.host, one, false);
    m.current = nullptr;
}

void wait_as(enum state state)
{
    machine &m = the_machine();
    fiber &self = *m.current;
    self.state = state;
    switch_fibers(self, m.host, false);
}

unsigned count_threads(unsigned first, unsigned end, enum state state)
{
    unsigned count = 0;
    for (unsigned t = first; t < end; t++)
        count += the_machine().fibers[t].state == state;
    return count;
}

void release(unsigned first, unsigned end)
{
    for (unsigned t = first; t < end; t++)
        the_machine().fibers[t].state = READY;
}

// Runs the 32 threads from `first` on until all of them wait at the barrier or are done. False:
// some wait in a warp operation that others will not come to.
bool run_warp(unsigned first)
{
    machine &m = the_machine();
    for (;;) {
        unsigned start = next_random(WARP), backwards = next_random(2);
        for (unsigned i = 0; i < WARP; i++) {
            fiber &lane = m.fibers[first + (start + (backwards ? WARP - i : i)) % WARP];
            if (lane.state == READY)
                resume(lane);
        }
        unsigned waiting = count_threads(first, first + WARP, AT_WARP);
        if (waiting == 0)
            return true;
        if (waiting < WARP)
            return false;
        release(first, first + WARP);
    }
}

// One warp goes as far as it can before the next begins: what it needs from others, or leaves for
// them, must be guarded by a barrier.
bool run_threads(unsigned threads)
{
    unsigned warps = threads / WARP;
    for (;;) {
        unsigned start = next_random(warps), backwards = next_random(2);
        for (unsigned i = 0; i < warps; i++)
            if (!run_warp((start + (backwards ? warps - i : i)) % warps * WARP)) {
                complain("some lanes never reach a warp operation that others wait in");
                return false;
            }
        if (count_threads(0, threads, DONE) == threads)
            return true;
        if (count_threads(0, threads, AT_BARRIER) != threads) {
            complain("some threads never reach a barrier that others wait at");
            return false;
        }
        release(0, threads);
    }
}

void prepare_block(dim3 block, size_t shared)
{
    machine &m = the_machine();
    unsigned t = 0;
    std::memset(m.shared, 0xff, shared + SHARED_GUARD);
    for (unsigned z = 0; z < block.z; z++)
        for (unsigned y = 0; y < block.y; y++)
            for (unsigned x = 0; x < block.x; x++, t++) {
                m.fibers[t].index = dim3(x, y, z);
                prepare(m.fibers[t]);
            }
}

bool run_block(dim3 block, size_t shared)
{
    machine &m = the_machine();
    prepare_block(block, shared);
    if (!run_threads(block.x * block.y * block.z))
        return false;
    for (size_t i = 0; i < SHARED_GUARD; i++)
        if ((unsigned char)m.shared[shared + i] != 0xff) {
            complain("wrote behind its shared memory");
            break;
        }
    return m.finding.empty();
}

bool check_launch(dim3 grid, dim3 block, size_t shared)
{
    unsigned threads = block.x * block.y * block.z;
    if (threads == 0 || threads > 1024 || threads % WARP != 0)
        complain("a block must be 1 to 32 whole warps");
    else if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7fffffffu || grid.y > 65535 ||
             grid.z > 65535)
        complain("a grid of no blocks, or of too many");
    else if (shared > SHARED_MOST)
        complain("more shared memory than a multiprocessor of sm_80 has");
    return the_machine().finding.empty();
}

void prepare_machine(unsigned threads)
{
    machine &m = the_machine();
    if (!m.shared)
        m.shared =
            (char *)std::aligned_alloc(4096, (size_t)((SHARED_MOST + SHARED_GUARD) | 4095) + 1);
    if (m.fibers.size() < threads)
        m.fibers.resize(threads);
    for (auto &slots : m.slots)
        slots.assign(threads, 0);
}
} // namespace

char *shared_memory()
{
    return the_machine().shared;
}

void barrier()
{
    wait_as(AT_BARRIER);
}

const uint64_t *exchange(unsigned mask, uint64_t number)
{
    machine &m = the_machine();
    fiber &self = *m.current;
    size_t place = (size_t)(&self - m.fibers.data());
    unsigned set = self.phase++ & 1;
    if (mask != 0xffffffffu)
        complain("a warp operation without all lanes");
    m.slots[set][place] = number;
    wait_as(AT_WARP);
    return &m.slots[set][place / WARP * WARP];
}

void copy_begin(void *to, const void *from, int bytes)
{
    machine &m = the_machine();
    char *at = (char *)to;
    if (((uintptr_t)to | (uintptr_t)from) % COPIED != 0 || bytes < 0 || bytes > COPIED)
        complain("an asynchronous copy that is not aligned, or of another size");
    else if (at < m.shared || at + COPIED > m.shared + SHARED_MOST)
        complain("an asynchronous copy to what is not shared memory");
    else {
        std::memset(at, 0xff, COPIED);
        m.current->copies.push_back({at, (const char *)from, bytes});
    }
}

void copy_wait()
{
    for (const copy &one : the_machine().current->copies) {
        std::memset(one.to, 0, COPIED);
        std::memcpy(one.to, one.from, (size_t)one.bytes);
    }
    the_machine().current->copies.clear();
}

void complain(const char *finding)
{
    machine &m = the_machine();
    if (m.finding.empty())
        m.finding = m.kernel + ": " + finding;
}

cudaError_t run(const char *kernel, dim3 grid, dim3 block, size_t shared, void (*body)(void *),
                void *argument)
{
    machine &m = the_machine();
    if (cudaPeekAtLastError() != cudaSuccess)
        return cudaPeekAtLastError();
    if (!emulator_begins(kernel))
        return cudaSuccess;
    m.kernel = kernel;
    m.body = body;
    m.argument = argument;
    if (check_launch(grid, block, shared)) {
        prepare_machine(block.x * block.y * block.z);
        block_size = block;
        grid_size = grid;
        uint64_t count = (uint64_t)grid.x * grid.y * grid.z;
        uint64_t start = next_random((unsigned)(count < 0xffffffffu ? count : 0xffffffffu));
        for (uint64_t i = 0; i < count; i++) {
            uint64_t at = (start + i) % count;
            block_index = dim3((unsigned)(at % grid.x), (unsigned)(at / grid.x % grid.y),
                               (unsigned)(at / grid.x / grid.y));
            if (!run_block(block, shared))
                break;
        }
    }
    if (m.finding.empty())
        return cudaSuccess;
    emulator_set_sticky(cudaErrorLaunchFailure);
    return cudaErrorLaunchFailure;
}
} // namespace emulator

extern "C" const char *emulator_finding(void)
{
    return emulator::the_machine().finding.c_str();
}

extern "C" void emulator_clear(void)
{
    emulator::the_machine().finding.clear();
    emulator_set_sticky(cudaSuccess);
}
